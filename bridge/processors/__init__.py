"""Ingest and search processors of ML Commons and neural-search, one module each."""

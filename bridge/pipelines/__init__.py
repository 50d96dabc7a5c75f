"""Pipelines that hold processors of ours, and queries that need a model."""

"""Frozen values and enums of ML Commons, without its `ML` prefix; no input or output happens here."""

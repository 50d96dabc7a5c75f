"""OpenSearch ML Bridge: what ML Commons gives, beside a cluster instead of inside it."""

__version__ = "0.1.0"

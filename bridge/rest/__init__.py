"""`/_plugins/_ml/**` as aiohttp handlers: one module per resource."""

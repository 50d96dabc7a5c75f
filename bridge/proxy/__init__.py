"""The proxy: a front door that passes bytes through, and the slow lane behind it."""

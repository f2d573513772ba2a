"""Layers: pure functions on arrays and plain dicts."""

"""Flax Linen modules, which own parameter names and random keys, and tables of layer sizes."""

"""Linen modules: they own parameter names and random keys, nothing else."""

"""Derivatives derived by hand, one file per layer family."""

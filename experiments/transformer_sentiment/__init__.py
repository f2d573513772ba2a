"""Text classification by a transformer."""

"""Data sources to arrays, vocabularies and batches."""

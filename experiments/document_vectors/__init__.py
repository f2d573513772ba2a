"""Vectors of documents and n-grams, and a classifier of the vectors."""

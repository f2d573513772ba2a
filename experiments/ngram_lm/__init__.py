"""A language model of counted n-grams."""

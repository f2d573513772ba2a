"""Sequence to sequence: translation, pronunciation, any pairs of texts."""

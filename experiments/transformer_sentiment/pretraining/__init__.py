"""Masked language modelling on texts without labels."""

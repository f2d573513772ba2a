"""Forecasts of a series from its past values."""

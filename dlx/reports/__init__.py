"""Figures, drawings of computations, counts of their cost."""

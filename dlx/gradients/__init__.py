"""Hand-derived vector-Jacobian products, one file per layer family.

dlx/layers/__init__.py has the letters of shapes.
"""

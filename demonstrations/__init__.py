"""Demonstrations: a page each, which computes a known fact of the field and draws it.

Each module has `draw() -> (Figure, lines)`: the picture and the lines of text that belong to it.
`python -m launch.demonstrate NAME` writes the one and prints the others.
"""

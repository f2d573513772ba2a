"""Layers: pure functions on arrays and plain dicts.

Letters of shapes, in all docstrings of dlx.layers and dlx.gradients:

  ...  any number of leading (batch) dimensions, also none
  B    examples of a batch
  T    steps of a sequence
  D    features
  H    hidden units of a recurrent layer (G H: gates side by side)
  N    attention heads
  P    keys and values of a prefix
  V    ids of a vocabulary
  K    classes
  C    channels of an image
  H W  height and width of an image
  h w  height and width of a kernel

A suffix says which: T_query, D_value, C_in, H_out. A lower-case name (d_in, d_model) is an
argument of `init`.
"""

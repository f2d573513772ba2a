"""Groups of query heads that share a head of keys and values.

With N = K G heads of queries and K of keys and values, query head n attends to key head
floor(n / G). The group gets an axis of its own, (..., N, T, D) -> (..., K, G, T, D), of size 1
for keys and values, (..., K, 1, T, D), so that products broadcast and no key is copied.

A key head is so repeated G times. y_g = x for each g has d_x = sum_g d_y_g: the cotangent of
what was repeated is the sum over the repetitions.

Source: Ainslie et al., "GQA: training generalized multi-query transformer models from
  multi-head checkpoints" (2023).
"""


def present(query, key):
  """Whether the heads of queries are more than those of keys."""
  return query.ndim > 2 and query.shape[-3] != key.shape[-3]


def split(key, *arrays):
  """The arrays with an axis for the group, (..., N, i, j) -> (..., K, G, i, j).

  Args:
    key: `(..., K, T_key, D)`.
    arrays: each has N heads (queries), K (keys and values), 1 or no such axis (masks and
      biases that broadcast), or is None.
  """

  def of(x):
    if x is None or x.ndim < 3:
      return x
    heads = min(x.shape[-3], key.shape[-3])
    return x.reshape(*x.shape[:-3], heads, x.shape[-3] // heads, *x.shape[-2:])

  return tuple(map(of, arrays))


def sum_to(x, shape):
  """x summed over the axes along which an array of this shape was repeated."""
  new = x.ndim - len(shape)
  axes = tuple(i for i in range(x.ndim) if i < new or x.shape[i] != shape[i - new])
  return x.sum(axes).reshape(shape) if axes else x

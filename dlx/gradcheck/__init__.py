"""Gradient checking: test cases, checks, and mutation tests of the checks.

`dlx.gradcheck.compare(f, f_vjp, *args)` checks a rule of your own at some arguments. To check it
in the same way as those of dlx.gradients, describe it by a case: the function, the rule, and a
way to draw inputs.

  import jax
  import jax.numpy as jnp
  import numpy as np
  from dlx import gradcheck
  from dlx.gradcheck import check, mutants
  from dlx.gradcheck.case import Case

  def scaled_tanh(x, scale):
    return scale * jnp.tanh(x)

  def scaled_tanh_vjp(x, scale, *, d_out):
    t = jnp.tanh(x)
    return d_out * scale * (1 - t * t), jnp.sum(d_out * t)

  gradcheck.compare(scaled_tanh, scaled_tanh_vjp, np.ones(3), 2.0)

  def draw(rng, n):
    return (rng.normal(size=n), rng.normal()), {}

  case = Case("my.scaled_tanh", scaled_tanh, scaled_tanh_vjp, draw, sizes={"n": (3, 1, 5)})
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    assert check.vjp_error(case, rng) < 1e-11        # against jax.vjp
    assert check.difference_error(case, rng) < 1e-6  # against central differences
    assert mutants.survivors(case) == []             # every mutant of the rule is found

`mutants.survivors` changes the rule's source in every small way (flipped signs, missing
terms, swapped arguments) and returns the changes that the drawn inputs do not reveal.
"""


def compare(function, rule, *args, **options) -> bool:
  """Compares a hand-derived rule with jax.vjp and central differences, and prints a verdict.

  In float64, eager and jitted, for one normal d_out. A line for each argument whose cotangent
  differs says by how much, and where most: `x: differs from jax.vjp by 0.5; at [2] ...`.

  Args:
    function: `function(*args, **options) -> out`, which jax can differentiate.
    rule: `rule(*args, d_out=..., **options)`: the cotangents of the arguments, a tuple, or the
      bare cotangent when there is one argument.
    *args: numbers, floating-point arrays, or trees of them; all are differentiated.
    **options: everything else: ids, masks, Python values.

  Returns:
    Whether the rule is right, for an assertion.

  Raises:
    ValueError: an argument is not floating-point.
  """
  from dlx.gradcheck import verdict

  return verdict.compare(function, rule, *args, **options)

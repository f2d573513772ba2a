"""Gradient checking: test cases, checks, and mutation tests of the checks.

A rule of your own is checked in the same way as those of dlx.gradients. Describe it by a
case: the function, the rule, and a way to draw inputs.

  import jax
  import jax.numpy as jnp
  import numpy as np
  from dlx.gradcheck import check, mutants
  from dlx.gradcheck.case import Case

  def scaled_tanh(x, scale):
    return scale * jnp.tanh(x)

  def scaled_tanh_vjp(x, scale, *, d_out):
    t = jnp.tanh(x)
    return d_out * scale * (1 - t * t), jnp.sum(d_out * t)

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

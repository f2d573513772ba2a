"""The gradients of the weight penalties, derived by hand.

The penalties are those of dlx.layers.losses, sums over all entries w of a tree of
parameters, in at least float32. Every w occurs in one term, so its cotangent is d_out times
the derivative of that term. Both rules take

  params: any tree of floating arrays,
  d_out: `()`, in the dtype of the penalty,
  weight: c, a number; it has no cotangent,

and return d_params in the structure, shapes and dtypes of params. They raise ValueError if
d_out is not a scalar in the dtype of the penalty.
"""

import jax
import jax.numpy as jnp

from dlx.gradients import checks


def _expect_scalar(d_out, params):
  dtype = jnp.result_type(*jax.tree.leaves(params), jnp.float32)
  checks.expect_like("d_out", d_out, (), dtype)


def l2_penalty_vjp(params, *, d_out, weight):
  """The vector-Jacobian product of `dlx.layers.losses.l2_penalty`, (c / 2) sum w^2.

  d_w = d_out (c / 2) 2 w = d_out c w. The 1/2 cancels the 2: a step of gradient descent
  shrinks every weight by the fraction learning rate * c.

  Source: Krogh and Hertz, "A simple weight decay can improve generalization" (1991);
    Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 7.1.1.
  """
  _expect_scalar(d_out, params)
  return jax.tree.map(lambda w: (d_out * weight * w).astype(w.dtype), params)


def l1_penalty_vjp(params, *, d_out, weight):
  """The vector-Jacobian product of `dlx.layers.losses.l1_penalty`, c sum |w|.

  |w| = w for w > 0 and -w for w < 0, so d_w = d_out c sign(w). At 0 any number from -1 to 1
  is a subgradient; it is sign(0) = 0 here, as in the layer, so that a zero weight stays zero
  (jax.grad(jnp.abs) is 1 at 0).

  Source: Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 7.1.2.
  """
  _expect_scalar(d_out, params)
  return jax.tree.map(lambda w: (d_out * weight * jnp.sign(w)).astype(w.dtype), params)

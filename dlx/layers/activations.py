"""The activation whose hand-derived gradient saves time; all others are jax.nn's."""

import jax
from jaxtyping import Array, Float

from dlx.gradients import activations as gradients
from dlx.layers import shapes


def _gelu(approximate, x):
  return jax.nn.gelu(x, approximate=approximate)


_gelu_by_hand = jax.custom_vjp(_gelu, nondiff_argnums=(0,))
_gelu_by_hand.defvjp(
    lambda approximate, x: (_gelu(approximate, x), x),
    lambda approximate, x, d_out: (gradients.gelu_vjp(x, d_out=d_out, approximate=approximate),),
)


def gelu(
    x: Float[Array, "..."], *, approximate: bool = True, implementation: str = "auto"
) -> Float[Array, "..."]:
  """x F(x), F being the normal distribution function: a relu with a soft corner.

  Exact: F(x) = (1 + erf(x / sqrt(2))) / 2. Approximate: F(x) is about (1 + tanh(u)) / 2
  with u = sqrt(2 / pi) (x + 0.044715 x^3); the two differ by at most 5e-4.

  Args:
    x: any shape.
    approximate: which of the two.
    implementation: "auto" takes the gradient of dlx/gradients/activations.py, which keeps
      x alone for the way back and has no forward mode;
      "autodiff" lets jax differentiate.

  Returns:
    An array like x.

  Raises:
    ValueError: implementation is unknown.

  Source: Hendrycks and Gimpel, "Gaussian error linear units" (2016), section 2.
  """
  shapes.expect_implementation(implementation, ("auto", "autodiff"))
  return (_gelu_by_hand if implementation == "auto" else _gelu)(approximate, x)

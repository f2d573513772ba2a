"""The gradients of the activation functions, derived by hand.

An activation is elementwise, y = f(x), so its Jacobian is diagonal and the chain rule is one
product per element: d_x = d_y f'(x), where d_v is the cotangent of v (the derivative of the
loss with respect to v). It remains to derive f'. Notation: s is the sigmoid, and
1 - s(x) = e^-x / (1 + e^-x) = s(-x), which is accurate where s(x) rounds to 1.

Every rule takes x of any shape and d_out of the shape and dtype of x, returns d_x of that
shape and dtype, and raises ValueError if d_out differs. At +-inf it returns the limit of f'.
"""

import math

from jax import lax
import jax.numpy as jnp

from dlx.gradients import checks


def _sigmoid(x):
  return lax.logistic(x)


def _expect(d_out, x):
  checks.expect_like("d_out", d_out, jnp.shape(x), jnp.result_type(x))


def sigmoid_vjp(x, *, d_out):
  """The vector-Jacobian product of `jax.nn.sigmoid`, s(x) = 1 / (1 + e^-x).

  s'(x) = e^-x / (1 + e^-x)^2 = [1 / (1 + e^-x)] [e^-x / (1 + e^-x)] = s(x) (1 - s(x)),
  and 1 - s(x) = s(-x).

  Source: Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 3.10.
  """
  _expect(d_out, x)
  return d_out * _sigmoid(x) * _sigmoid(-x)


def tanh_vjp(x, *, d_out):
  """The vector-Jacobian product of `jnp.tanh`, t = sinh(x) / cosh(x).

  By the quotient rule, with sinh' = cosh and cosh' = sinh,
  t' = (cosh^2 - sinh^2) / cosh^2 = 1 - t^2.

  Source: LeCun, Bottou, Orr, Mueller, "Efficient BackProp" (1998), section 4.4.
  """
  _expect(d_out, x)
  t = jnp.tanh(x)
  return d_out * (1 - t * t)


def relu_vjp(x, *, d_out):
  """The vector-Jacobian product of `jax.nn.relu`, y = max(x, 0).

  y = x for x > 0, so y' = 1; y = 0 for x < 0, so y' = 0. At 0 any number between the two is
  a subgradient; it is 0 here, as in jax.nn.relu.

  Source: Nair and Hinton, "Rectified linear units improve restricted Boltzmann
    machines" (2010).
  """
  _expect(d_out, x)
  return jnp.where(x > 0, d_out, jnp.zeros_like(d_out))


def softplus_vjp(x, *, d_out):
  """The vector-Jacobian product of `jax.nn.softplus`, y = log(1 + e^x).

  y' = e^x / (1 + e^x) = 1 / (1 + e^-x) = s(x).

  Source: Dugas et al., "Incorporating second-order functional knowledge for better
    option pricing" (2001).
  """
  _expect(d_out, x)
  return d_out * _sigmoid(x)


def silu_vjp(x, *, d_out):
  """The vector-Jacobian product of `jax.nn.silu`, y = x s(x).

  By the product rule and s' = s(x) s(-x),  y' = s(x) + x s(x) s(-x).

  The second term decays like |x| e^-|x|. At +-inf it would be inf * 0, so x is clipped at
  1000, where s(x) s(-x) is 0 in every dtype.

  Source: Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units" (2018), equation 5.
  """
  _expect(d_out, x)
  x = jnp.clip(x, -1000, 1000)
  s = _sigmoid(x)
  return d_out * (s + x * s * _sigmoid(-x))


def gelu_vjp(x, *, d_out, approximate=True):
  """The vector-Jacobian product of `jax.nn.gelu` in both forms.

  Exact: y = x F(x) with F the standard normal distribution function and f = F' its density,
  f(x) = e^(-x^2 / 2) / sqrt(2 pi), so

    y' = F(x) + x f(x)

  Approximate: y = x (1 + t) / 2, t = tanh(u), u = c (x + a x^3), c = sqrt(2 / pi),
  a = 0.044715. The product rule, tanh' = 1 - t^2 and u' = c (1 + 3 a x^2) give

    y' = (1 + t) / 2 + x (1 - t^2) u' / 2

  In both the second term is 0 in every dtype for |x| > 40, so x is clipped there: otherwise
  x^3 overflows in half precision, and at +-inf there is inf * 0.

  Source: Hendrycks and Gimpel, "Gaussian error linear units" (2016), section 2.
  """
  _expect(d_out, x)
  x = jnp.clip(x, -40, 40)
  if not approximate:
    distribution = lax.erfc(-x * math.sqrt(0.5)) / 2
    density = jnp.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return d_out * (distribution + x * density)
  c, a = math.sqrt(2 / math.pi), 0.044715
  t = jnp.tanh(c * (x + a * x * x * x))
  d_u = c * (1 + 3 * a * x * x)
  return d_out * ((1 + t) / 2 + x * (1 - t * t) * d_u / 2)


def log1p_relu_vjp(x, *, d_out):
  """The vector-Jacobian product of y = log(1 + max(x, 0)).

  With r = max(x, 0), dy/dr = 1 / (1 + r), and dr/dx is 1 for x > 0 and 0 for x <= 0, as in
  `relu_vjp`. The denominator has r instead of x, because at x = -1 a second derivative would
  have 1 / 0 in the branch that is not selected.

  Source: the chain rule; Glorot, Bordes, Bengio, "Deep sparse rectifier neural
    networks" (2011), for the rectifier.
  """
  _expect(d_out, x)
  r = jnp.maximum(x, 0)
  return jnp.where(x > 0, d_out / (1 + r), jnp.zeros_like(d_out))

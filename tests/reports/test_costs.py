"""Counting multiplications: loops, calls and branches (tests/worked/test_costs.py has layers)."""

import jax
from jax import lax
import jax.numpy as jnp
import pytest

from dlx.reports.costs import cost

A, V = jnp.zeros((3, 3)), jnp.zeros(3)
FUNCTIONS = {
    "no product": (lambda a, v: a + v, 0, 0),
    "two in parallel": (lambda a, v: a @ v + v @ a, 18, 1),
    "two in turn": (lambda a, v: a @ (a @ v), 18, 2),
    "in a jitted function": (lambda a, v: jax.jit(lambda v: a @ v)(v), 9, 1),
    "checkpointed": (lambda a, v: jax.checkpoint(lambda v: a @ v)(v), 9, 1),
    "a loop in turn": (lambda a, v: lax.scan(lambda c, _: (a @ c, c), v, length=5), 45, 5),
    "a loop in parallel": (
        lambda a, v: lax.scan(lambda c, _: (c, a @ v), v, length=5)[1], 45, 1,
    ),
    "no loop": (lambda a, v: lax.scan(lambda c, _: (a @ c, c), v, length=0), 0, 0),
    "loops that count in a loop": (
        lambda a, v: lax.fori_loop(
            0, 4, lambda i, s: lax.fori_loop(0, i, lambda _, s: a @ s, s), v
        ),
        (1 + 2 + 3) * 9, 6,
    ),
    "a loop that counts down": (
        lambda a, v: lax.while_loop(lambda s: s[0] > 0, lambda s: (s[0] - 2, a @ s[1]), (7, v))[1],
        4 * 9, 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("function, total, chain", FUNCTIONS.values(), ids=FUNCTIONS)
def test_products_are_counted_as_often_as_they_run(function, total, chain):
  assert cost(function, A, V) == (total, chain)


@pytest.mark.parametrize("function, message", [
    (lambda a, v: lax.while_loop(lambda v: v.sum() < 1, lambda v: a @ v, v), "loop's length"),
    (lambda a, v: lax.cond(v[0] > 0, lambda: a @ v, lambda: v), "branch depends on the data"),
])  # fmt: skip
def test_what_depends_on_data_is_refused(function, message):
  with pytest.raises(ValueError, match=message):
    cost(function, A, V)

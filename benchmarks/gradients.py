"""Layers with a hand-derived gradient against jax.grad, Flax Linen and PyTorch.

  python -m benchmarks.gradients [--rounds=7] [--only=conv] [--output=gradients.json]

A call computes a layer's output and the cotangents of its params and inputs from a
given cotangent of the output, in float32. All implementations of a problem get the same
values, and the program first checks that their cotangents agree. They run in alternating
rounds, and the minimum is reported; run nothing else at the same time. Compile time is
separate. The fraction of peak compares the problem's matrix products (three times those
of the forward pass; for causal attention, half of the score matrix) with a 2048 x 2048
product measured in the same run.
"""

from collections.abc import Callable, Iterable
import functools
import time
from typing import NamedTuple

from absl import app, flags
import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import layers_flax, layers_torch, timing
from dlx.layers import attention, conv, gru, lstm, pooling

_ONLY = flags.DEFINE_string("only", "", "Only problems whose name contains this.")


class Problem(NamedTuple):
  """One layer at one size.

  Attributes:
    name: the layer and its sizes.
    inputs: the differentiated arrays.
    d_out: the cotangent of the output.
    flops: the matrix products of forward and backward.
    ways: for each implementation in JAX a function of the inputs.
    torch: a function `(inputs, d_out) -> call`; `call()` returns the output and cotangents.
    wanted: for each implementation, the target for the time of dlx divided by its time.
  """

  name: str
  inputs: tuple
  d_out: object
  flops: float
  ways: dict[str, Callable]
  torch: Callable | None
  wanted: dict[str, float]


def _normal(*shape):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def convolution(batch, size, c_in, c_out, window=3, strides=1, wanted=None) -> Problem:
  """A convolution with bias and SAME padding over (batch, size, size, c_in)."""
  params = conv.init(jax.random.key(0), window, c_in, c_out)
  x, out = _normal(batch, size, size, c_in), size // strides
  apply = functools.partial(conv.apply, strides=strides)
  return Problem(
      f"conv {window}x{window}/{strides} {batch}x{size}x{size}x{c_in}->{c_out}",
      (params, x),
      _normal(batch, out, out, c_out),
      3 * 2 * batch * out * out * window * window * c_in * c_out,
      {"dlx": apply, "autodiff": functools.partial(apply, implementation="autodiff")},
      functools.partial(layers_torch.convolution, strides=strides),
      wanted or {"autodiff": 1.0},
  )


def max_pooling(batch, size, channels, window=2) -> Problem:
  """Non-overlapping windows over (batch, size, size, channels); there are no products."""
  out, pool = size // window, functools.partial(pooling.max_pool, window=window)
  return Problem(
      f"max-pool {window}x{window} {batch}x{size}x{size}x{channels}",
      (_normal(batch, size, size, channels),),
      _normal(batch, out, out, channels),
      0,
      {"dlx": pool, "autodiff": functools.partial(pool, implementation="autodiff")},
      functools.partial(layers_torch.max_pooling, window=window),
      {"autodiff": 1.0},
  )


def recurrent(cell, size, *, wanted, **options) -> Problem:
  """A GRU or LSTM over (B, T, D); the output is the states."""
  batch, length, d, hidden = size
  params = cell.init(jax.random.key(0), d, hidden, **options)
  gates = params["hidden"].shape[1] // hidden
  other = ", reset_after=False" if options.get("reset_after") is False else ""

  def ys(params, xs, **more):
    return cell.scan(params, xs, **options, **more)[1]

  ways = {"dlx": ys, "autodiff": functools.partial(ys, implementation="autodiff")}
  torch = None
  if not other:
    ways["Flax"] = functools.partial(layers_flax.recurrent, gates=gates)
    torch = functools.partial(layers_torch.recurrent, gates=gates)
  return Problem(
      f"{cell.__name__.split('.')[-1]} B{batch} T{length} D{d} H{hidden}{other}",
      (params, _normal(batch, length, d)),
      _normal(batch, length, hidden),
      3 * 2 * batch * length * gates * hidden * (d + hidden),
      ways,
      torch,
      wanted,
  )


def scaled_dot_product(batch, heads, length, d, *, wanted, is_causal=True) -> Problem:
  """Attention over (batch, heads, length, d) without projections: causal, or with padding.

  Padded sequences have from half of the length to all of it.
  """
  query, key, value = _normal(3, batch, heads, length, d)
  lengths = np.linspace(length // 2, length, batch).astype(int)
  mask = None if is_causal else (np.arange(length) < lengths[:, None])[:, None, None]
  options = {"is_causal": is_causal, "mask": mask}
  ours = functools.partial(attention.dot_product_attention, **options)

  def jax_nn(*inputs):
    swapped = (x.swapaxes(-3, -2) for x in inputs)  # Its layout is (B, T, N, D).
    return jax.nn.dot_product_attention(*swapped, **options).swapaxes(-3, -2)

  pairs = batch * length * (length + 1) // 2 if is_causal else length * lengths.sum()
  return Problem(
      f"{'causal' if is_causal else 'padded'} attention {batch}x{heads}x{length}x{d}",
      (query, key, value),
      _normal(batch, heads, length, d),
      float(3 * 2 * 2 * heads * pairs * d),
      {
          "dlx": ours,
          "autodiff": functools.partial(ours, implementation="autodiff"),
          "jax.nn": jax_nn,
      },
      functools.partial(layers_torch.attention, **options),
      wanted,
  )


LARGE, SMALL = (64, 128, 128, 512), (32, 64, 64, 256)  # B, T, D, H.
PROBLEMS = (
    functools.partial(convolution, 128, 32, 64, 64, wanted={"autodiff": 0.55}),
    functools.partial(convolution, 128, 16, 128, 128, wanted={"autodiff": 0.80}),
    functools.partial(convolution, 128, 8, 256, 256, wanted={"autodiff": 0.90}),
    functools.partial(convolution, 128, 32, 64, 128, strides=2),
    functools.partial(convolution, 128, 16, 128, 128, window=1),
    functools.partial(max_pooling, 128, 32, 64),
    *(
        functools.partial(recurrent, cell, size, wanted={"Flax": 1.0}, **options)
        for cell, options in ((gru, {"reset_after": True}), (lstm, {}))
        for size in (LARGE, SMALL)
    ),
    *(
        functools.partial(recurrent, gru, size, wanted={"autodiff": 0.90}, reset_after=False)
        for size in (LARGE, SMALL)
    ),
    functools.partial(scaled_dot_product, 2, 8, 2048, 64, wanted={"jax.nn": 0.20, "PyTorch": 1.2}),
)


def _jax_call(way: Callable, inputs: tuple, d_out):
  """A call that returns the output and cotangents, and its compile time in seconds."""

  @jax.jit
  def forward_and_backward(inputs, d_out):
    out, vjp = jax.vjp(way, *inputs)
    return out, vjp(d_out)

  start = time.perf_counter()
  compiled = forward_and_backward.lower(inputs, d_out).compile()
  seconds = time.perf_counter() - start
  return lambda: jax.block_until_ready(compiled(inputs, d_out)), seconds


def calls_of(problem: Problem) -> dict[str, tuple[Callable, float]]:
  """For each implementation its call, `() -> (out, cotangents)`, and its compile time."""
  inputs, d_out = jax.device_put((problem.inputs, problem.d_out))
  calls = {name: _jax_call(way, inputs, d_out) for name, way in problem.ways.items()}
  if problem.torch is not None and layers_torch.torch is not None:
    calls["PyTorch"] = problem.torch(*jax.tree.map(np.asarray, (inputs, d_out))), 0.0
  return calls


def check_equal(calls: dict[str, tuple[Callable, float]], tolerance: float = 1e-3) -> None:
  """Raises RuntimeError unless all results agree with those of dlx, relative to the largest."""
  results = {name: call() for name, (call, _) in calls.items()}
  expected = jax.tree.leaves(results["dlx"])
  for name, result in results.items():
    for ours, theirs in zip(expected, jax.tree.leaves(result), strict=True):
      ours, theirs = np.asarray(ours), np.asarray(theirs)
      if not np.abs(ours - theirs).max() <= tolerance * np.abs(ours).max():
        raise RuntimeError(f"{name}: the results differ from those of dlx")


def measure(problem: Problem, rounds: int, peak: float) -> list[dict]:
  """The rows of one problem."""
  calls = calls_of(problem)
  check_equal(calls)
  best = timing.fastest({name: call for name, (call, _) in calls.items()}, rounds)
  return [
      {
          "problem": problem.name,
          "library": name,
          "ms": 1e3 * best[name],
          "share_of_peak": problem.flops / best[name] / peak,
          "compile_seconds": compile_seconds,
          "dlx_divided_by_this": best["dlx"] / best[name],
          "wanted": problem.wanted.get(name),
      }
      for name, (_, compile_seconds) in calls.items()
  ]


def run(problems: Iterable[Callable[[], Problem]], rounds: int, peak: float) -> dict:
  """The rows of all problems selected by --only."""
  rows = []
  for make in problems:
    problem = make()
    if _ONLY.value in problem.name:
      rows += measure(problem, rounds, peak)
  return {"rows": rows}


def show(console: Console, result: dict) -> None:
  """Prints the table."""
  table = Table("forward + backward", "", box=box.SIMPLE)
  for column in ("ms", "of peak", "compile s", "dlx / this", "wanted"):
    table.add_column(column, justify="right")
  last = None
  for row in result["rows"]:
    table.add_row(
        row["problem"] if row["problem"] != last else "",
        row["library"],
        f"{row['ms']:.2f}",
        f"{row['share_of_peak']:.0%}",
        f"{row['compile_seconds']:.1f}",
        f"{row['dlx_divided_by_this']:.2f}",
        "" if row["wanted"] is None else f"{row['wanted']:.2f}",
    )
    last = row["problem"]
  console.print(table)


def main(argv: list[str]) -> None:
  """Measures, prints, and writes --output."""
  timing.program(argv, layers_torch.torch, functools.partial(run, PROBLEMS), show)


if __name__ == "__main__":
  app.run(main)

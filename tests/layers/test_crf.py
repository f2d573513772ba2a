"""The conditional random field against a sum over all sequences of tags."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import crf

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
both = pytest.mark.parametrize("implementation", ["auto", "autodiff"])


def draw(shape, tags=3, scale=1.0, seed=0):
  rng = np.random.default_rng(seed)
  params = {
      "start": rng.normal(size=tags),
      "transitions": rng.normal(size=(tags, tags)),
      "end": rng.normal(size=tags),
  }
  params = {name: jnp.asarray(scale * x) for name, x in params.items()}
  return params, jnp.asarray(scale * rng.normal(size=(*shape, tags)))


def score_of(params, emissions, path) -> float:
  """S(y) in a loop over the steps."""
  if not len(path):
    return 0.0
  total = params["start"][path[0]] + params["end"][path[-1]]
  total += sum(emissions[t, k] for t, k in enumerate(path))
  return float(total + sum(params["transitions"][i, j] for i, j in itertools.pairwise(path)))


def all_scores(params, emissions) -> dict[tuple, float]:
  params, emissions = jax.tree.map(np.asarray, (params, emissions))
  paths = itertools.product(range(emissions.shape[1]), repeat=len(emissions))
  return {path: score_of(params, emissions, path) for path in paths}


@both
@eager_and_jit
def test_the_log_partition_is_that_of_all_paths(x64, compile_, implementation):
  params, emissions = draw((2, 4))
  found = compile_(lambda *args: crf.log_partition(*args, implementation=implementation))(
      params, emissions
  )
  expected = [np.logaddexp.reduce([*all_scores(params, e).values()]) for e in emissions]
  np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.sampled(1)
@both
@eager_and_jit
def test_the_probabilities_of_all_paths_sum_to_one(x64, compile_, implementation):
  params, emissions = draw((4,))
  scores = all_scores(params, emissions)
  paths = jnp.asarray([*scores])
  each = jnp.broadcast_to(emissions, (len(paths), *emissions.shape))
  np.testing.assert_allclose(crf.score(params, each, paths), [*scores.values()], rtol=1e-13)
  losses = compile_(
      lambda *args: crf.negative_log_likelihood(*args, implementation=implementation)
  )(params, each, paths)
  np.testing.assert_allclose(jnp.exp(-losses).sum(), 1, rtol=1e-13)


@eager_and_jit
def test_marginals_count_the_paths_through_each_tag(x64, compile_):
  params, emissions = draw((4,))
  scores = all_scores(params, emissions)
  p = np.exp([*scores.values()] - np.logaddexp.reduce([*scores.values()]))
  expected = np.zeros(emissions.shape)
  for path, weight in zip(scores, p):
    expected[np.arange(4), path] += weight
  found = compile_(crf.marginals)(params, emissions)
  np.testing.assert_allclose(found, expected, rtol=1e-12)


@eager_and_jit
@pytest.mark.parametrize("seed", range(2))
def test_viterbi_finds_the_best_of_all_paths(x64, compile_, seed):
  params, emissions = draw((2, 5), seed=seed)
  tags, score = compile_(crf.viterbi)(params, emissions)
  for found, total, e in zip(tags, score, emissions):
    scores = all_scores(params, e)
    best = max(scores, key=scores.get)
    assert tuple(found.tolist()) == best
    assert float(total) == pytest.approx(scores[best], rel=1e-13)
  np.testing.assert_allclose(crf.score(params, emissions, tags), score, rtol=1e-13)


def test_of_equal_paths_viterbi_takes_the_first():
  params, emissions = jax.tree.map(jnp.zeros_like, draw((3,)))
  tags, score = crf.viterbi(params, emissions)
  assert tags.tolist() == [0, 0, 0] and float(score) == 0


@pytest.mark.full
@both
@eager_and_jit
def test_padding_changes_nothing(x64, compile_, implementation):
  params, emissions = draw((4, 4))
  tags, lengths = jnp.asarray([[0, 1, 2, 0]] * 4), jnp.asarray([4, 2, 1, 0])
  valid = jnp.arange(4) < lengths[:, None]

  @compile_
  def everything(params, emissions, tags):
    def loss(params, emissions):
      each = crf.negative_log_likelihood(
          params, emissions, tags, lengths=lengths, implementation=implementation
      )
      return each.sum(), each

    (_, each), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, emissions)
    marginals = crf.marginals(params, emissions, lengths=lengths)
    return each, marginals, crf.viterbi(params, emissions, lengths=lengths), grads

  clean = everything(params, emissions, tags)
  garbage = everything(
      params, jnp.where(valid[..., None], emissions, jnp.nan), jnp.where(valid, tags, -7)
  )
  jax.tree.map(np.testing.assert_array_equal, garbage, clean)
  losses, marginals, (best, scores), (_, d_emissions) = clean
  for i, n in enumerate(lengths.tolist()):
    every = all_scores(params, emissions[i, :n])
    found = max(every, key=every.get)
    assert tuple(best[i].tolist()) == (*found, *[0] * (4 - n))
    assert float(scores[i]) == pytest.approx(every[found], rel=1e-13)
    expected = np.logaddexp.reduce([*every.values()]) - every[(0, 1, 2, 0)[:n]]
    assert float(losses[i]) == pytest.approx(expected, rel=1e-12, abs=1e-13)
    np.testing.assert_allclose(marginals[i, :n].sum(-1), 1, rtol=1e-13)
    assert not np.any(marginals[i, n:]) and not np.any(d_emissions[i, n:])


@pytest.mark.full
@eager_and_jit
@pytest.mark.parametrize("dtype, gap", [("float32", 300.0), ("float64", 3000.0)])
def test_products_that_underflow_are_computed_in_logarithms(x64, compile_, dtype, gap):
  # The best first tag leads to nowhere: all paths that count begin with e^-gap of its weight.
  params, emissions = draw((2, 4))
  params["transitions"] = params["transitions"].at[0].add(-2 * gap)
  emissions = emissions.at[:, 0, 0].add(gap)
  params, emissions = jax.tree.map(lambda x: x.astype(dtype), (params, emissions))
  value = lambda *args, **options: crf.log_partition(*args, **options).sum()  # noqa: E731
  found = compile_(jax.value_and_grad(value, (0, 1)))(params, emissions)
  wide = jax.tree.map(lambda x: x.astype("float64"), (params, emissions))
  expected = jax.value_and_grad(
      lambda *args: value(*args, implementation="autodiff"), (0, 1)
  )(*wide)  # fmt: skip
  tolerance = 1e-4 if dtype == "float32" else 1e-11  # Of numbers as large as the gap.
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    assert a.dtype == dtype
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@eager_and_jit
def test_forbidden_transitions_have_probability_zero(x64, compile_):
  params, emissions = draw((2, 4))
  params["transitions"] = params["transitions"].at[:, 1].set(-jnp.inf)
  params["start"] = params["start"].at[1].set(-jnp.inf)
  value = lambda *args: crf.log_partition(*args).sum()  # noqa: E731
  log_z, (d_params, d_emissions) = compile_(jax.value_and_grad(value, (0, 1)))(params, emissions)
  scores = [*all_scores(params, emissions[0]).values(), *all_scores(params, emissions[1]).values()]
  expected = sum(np.logaddexp.reduce(part) for part in np.split(np.array(scores), 2))
  np.testing.assert_allclose(log_z, expected, rtol=1e-13)
  for grad in (d_params["transitions"][:, 1], d_params["start"][1], d_emissions[..., 1]):
    np.testing.assert_array_equal(grad, 0)
  np.testing.assert_allclose(d_emissions.sum(-1), 1, rtol=1e-12)
  assert not (crf.viterbi(params, emissions)[0] == 1).any()


@pytest.mark.full
def test_a_long_sequence_keeps_its_precision():
  params, emissions = draw((2000,), tags=5, scale=3.0)
  params, emissions = jax.tree.map(lambda x: x.astype("float32"), (params, emissions))
  p = crf.marginals(params, emissions)
  np.testing.assert_allclose(p.sum(-1), 1, atol=1e-4)
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float64)), (params, emissions))
    np.testing.assert_allclose(p, crf.marginals(*wide), atol=1e-4)


def test_lists_and_numpy_arrays_are_arrays():
  params, emissions = draw((3,))
  lists = jax.tree.map(lambda x: np.asarray(x).tolist(), params), np.asarray(emissions).tolist()
  assert crf.viterbi(*lists)[0].tolist() == crf.viterbi(params, emissions)[0].tolist()
  found = jax.jit(lambda x: crf.viterbi(jax.tree.map(np.asarray, params), x))(emissions)
  assert found[0].tolist() == crf.viterbi(params, emissions)[0].tolist()
  np.testing.assert_allclose(crf.score(*lists, [0, 1, 2]), crf.score(params, emissions, [0, 1, 2]))


@pytest.mark.sampled(2)
@both
@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_nothing_has_the_probability_one(shape, implementation):
  params, emissions = draw(shape)
  tags = jnp.zeros(shape, int)

  def loss(params, emissions):
    return crf.negative_log_likelihood(params, emissions, tags, implementation=implementation)

  found = jax.jit(loss)(params, emissions)
  assert found.shape == shape[:-1] and not np.any(found)
  grads = jax.jit(jax.grad(lambda *args: loss(*args).sum(), (0, 1)))(params, emissions)
  assert not any(np.any(g) for g in jax.tree.leaves(grads))
  found, scores = jax.jit(crf.viterbi)(params, emissions)
  assert found.shape == crf.marginals(params, emissions).shape[:-1] == shape
  assert scores.shape == shape[:-1] and not np.any(scores)


@pytest.mark.full
@both
def test_bfloat16_emissions_have_a_float32_loss(implementation):
  params, emissions = draw((2, 4))
  narrow, tags = emissions.astype(jnp.bfloat16), jnp.zeros((2, 4), int)
  value = lambda p, e: crf.negative_log_likelihood(p, e, tags, implementation=implementation)  # noqa: E731
  loss = value(params, narrow)
  assert loss.dtype == jnp.float32
  np.testing.assert_allclose(loss, value(params, narrow.astype(jnp.float32)), rtol=1e-5)
  grads = jax.grad(lambda *args: value(*args).sum(), (0, 1))(params, narrow)
  assert grads[0]["start"].dtype == jnp.float32 and grads[1].dtype == jnp.bfloat16


@eager_and_jit
@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_tag_out_of_range_is_not_silent(compile_, wrong):
  params, emissions = draw((3,))
  assert np.isnan(compile_(crf.score)(params, emissions, jnp.asarray([0, wrong, 1])))


def test_invalid_input_is_reported():
  params, emissions = draw((2, 4))
  tags = jnp.zeros((2, 4), int)
  for call, message in (
      (lambda: crf.log_partition(params, emissions[..., :2]), "emissions: expected a last dim"),
      (lambda: crf.log_partition(params, emissions[0, 0]), "emissions: expected shape"),
      (lambda: crf.log_partition(params, tags[..., None]), "emissions: expected floating"),
      (lambda: crf.log_partition({}, emissions), "params: expected start, transitions, end"),
      (lambda: crf.score(params, emissions, tags[:, :3]), r"tags: expected shape \(2, 4\)"),
      (lambda: crf.score(params, emissions, tags * 1.0), "tags: expected integers"),
      (lambda: crf.viterbi(params, emissions, lengths=[4]), r"lengths: expected shape \(2,\)"),
      (lambda: crf.marginals(params, emissions, lengths=[1.0, 2.0]), "lengths: expected integers"),
      (lambda: crf.log_partition(params, emissions, implementation="x"), "implementation: exp"),
  ):
    with pytest.raises(ValueError, match=message):
      call()
  with pytest.raises(TypeError, match="forward mode"):
    jax.jvp(lambda e: crf.log_partition(params, e), (emissions,), (emissions,))

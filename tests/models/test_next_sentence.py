"""Segments of a transformer, and BERT's second output: whether one segment follows the other."""

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models import sequence_heads, transformer

IDS = jnp.asarray(np.random.default_rng(0).integers(1, 11, (3, 6)))
SEGMENTS = jnp.int32(jnp.arange(6) >= jnp.array([[3], [2], [5]]))


def small(**options):
  sizes = {"d_model": 8, "num_layers": 1, "num_heads": 2, "d_ff": 12}
  return transformer.Transformer(11, **sizes | {"num_segments": 2, **options})


def test_the_embedding_of_its_segment_is_added_to_a_token():
  """Without segments all belong to the first; other ones are as another embedding of the first."""
  model = small()
  params = drawn.variables(model.init, jax.random.key(0), IDS)["params"]
  apply = jax.jit(lambda p, s=None: model.apply({"params": p}, IDS, segments=s))
  plain, zeros = apply(params), apply(params, jnp.zeros_like(IDS))
  np.testing.assert_allclose(plain, zeros, atol=1e-6)
  swapped = {**params, "segments": {"embedding": params["segments"]["embedding"][::-1]}}
  np.testing.assert_allclose(
      apply(params, SEGMENTS), apply(swapped, 1 - SEGMENTS), atol=1e-6
  )
  np.testing.assert_allclose(apply(swapped), apply(params, jnp.ones_like(IDS)), atol=1e-6)
  assert np.abs(apply(params, SEGMENTS) - plain).max() > 1e-2
  with pytest.raises(ValueError, match="segments: expected None, since num_segments is 0"):
    jax.eval_shape(lambda: small(num_segments=0).init(jax.random.key(0), IDS, segments=SEGMENTS))


@pytest.mark.full
def test_the_second_output_is_a_classifier_of_the_first_state_and_changes_no_other():
  model = sequence_heads.LanguageModel(small(), mlm_transform=True, next_sentence=True)
  variables = drawn.variables(model.init, jax.random.key(0), IDS)
  params = variables["params"]
  logits, following = model.apply(variables, IDS, segments=SEGMENTS)
  plain = sequence_heads.LanguageModel(small(), mlm_transform=True)
  shared = {k: v for k, v in params.items() if k not in ("pooler", "next")}
  np.testing.assert_array_equal(logits, plain.apply({"params": shared}, IDS, segments=SEGMENTS))
  inner = {"params": params["transformer"]}
  state = np.asarray(small().apply(inner, IDS, segments=SEGMENTS))[:, 0]
  pooled = np.tanh(state @ params["pooler"]["kernel"] + params["pooler"]["bias"])
  expected = pooled @ params["next"]["kernel"][:, 0] + params["next"]["bias"][0]
  np.testing.assert_allclose(following, expected, rtol=1e-5, atol=1e-6)

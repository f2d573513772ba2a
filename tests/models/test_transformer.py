"""Transformers: equality with PyTorch, padding, causality, heads, shapes, errors."""

import functools

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models import sequence_heads, transformer

IDS = jnp.asarray(np.random.default_rng(0).integers(1, 11, (3, 6)))
MASK = jnp.arange(6) < jnp.array([[6], [4], [1]])


def small(**options):
  sizes = {"d_model": 8, "num_layers": 1, "num_heads": 2, "d_ff": 12, "max_length": 16}
  return transformer.Transformer(11, **sizes | options)


def make(model, *args):
  """(params with biases other than 0 and scales other than 1, apply)."""
  params = drawn.variables(model.init, jax.random.key(0), *args)["params"]
  return params, jax.jit(lambda params, *args: model.apply({"params": params}, *args))


each_kind = pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm_first": False, "positions": "learned", "num_segments": 2},
        {"gated": True, "positions": "rotary"},
        {"is_causal": True, "positions": "rotary"},
        {"conv_width": 3, "positions": "none"},
    ],
    ids=["sinusoidal", "bert", "gated", "causal", "convolution"],
)


@pytest.mark.sampled(2)
@each_kind
def test_padding_does_not_change_the_result(options):
  params, apply = make(small(**options), IDS)
  padded = jnp.concatenate([jnp.where(MASK, IDS, 7), jnp.full((3, 4), 9)], -1)
  longer = jnp.concatenate([MASK, jnp.zeros((3, 4), bool)], -1)
  ours, theirs = apply(params, IDS, MASK), apply(params, padded, longer)[:, :6]
  np.testing.assert_allclose(ours[MASK], theirs[MASK], atol=1e-5)
  alone = apply(params, IDS[1:2, :4])
  np.testing.assert_allclose(ours[1, :4], alone[0], atol=1e-5)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("conv_width", [1, 3])
@pytest.mark.parametrize("positions", transformer.POSITIONS)
def test_a_causal_decoder_does_not_depend_on_later_tokens(positions, conv_width):
  model = small(is_causal=True, positions=positions, conv_width=conv_width)
  params, _ = make(model, IDS)

  def output(table, t):
    """The t-th output, as a function of the embedding (whose row i is the token at i)."""
    changed = {**params, "embedding": {"embedding": table}}
    return model.apply({"params": changed}, jnp.arange(6))[t].sum()

  table = jax.random.normal(jax.random.key(3), (11, 8))
  gradient = jax.jit(jax.grad(output))
  for t in range(6):
    seen = np.abs(gradient(table, t)).sum(-1)[:6] > 0
    np.testing.assert_array_equal(seen, np.arange(6) <= t)


def test_the_order_of_tokens_matters_exactly_with_positions():
  for positions in transformer.POSITIONS:
    params, apply = make(small(positions=positions), IDS)
    reversed_ = apply(params, IDS[:, ::-1])[:, ::-1]
    assert np.allclose(apply(params, IDS), reversed_, atol=1e-5) == (positions == "none"), positions


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_block_equals_pytorchs_encoder_layer(norm_first):
  torch = pytest.importorskip("torch")
  block = transformer.Block(2, 12, norm_first)
  x = np.random.default_rng(1).normal(size=(3, 6, 8)).astype(np.float32)
  params, apply = make(block, x)
  layer = torch.nn.TransformerEncoderLayer(
      8, 2, 12, 0.0, "gelu", batch_first=True, norm_first=norm_first
  )
  tensor = lambda v: torch.tensor(np.array(v))  # noqa: E731
  parts = [params["attention"][name] for name in ("query", "key", "value")]
  out = params["attention"]["out"]
  first, second = params["feed_forward_in"], params["feed_forward_out"]
  layer.load_state_dict({
      "self_attn.in_proj_weight": tensor(jnp.concatenate([p["kernel"].T for p in parts])),
      "self_attn.in_proj_bias": tensor(jnp.concatenate([p["bias"] for p in parts])),
      "self_attn.out_proj.weight": tensor(out["kernel"].T),
      "self_attn.out_proj.bias": tensor(out["bias"]),
      "linear1.weight": tensor(first["kernel"].T), "linear1.bias": tensor(first["bias"]),
      "linear2.weight": tensor(second["kernel"].T), "linear2.bias": tensor(second["bias"]),
      "norm1.weight": tensor(params["attention_norm"]["scale"]),
      "norm1.bias": tensor(params["attention_norm"]["bias"]),
      "norm2.weight": tensor(params["feed_forward_norm"]["scale"]),
      "norm2.bias": tensor(params["feed_forward_norm"]["bias"]),
  })  # fmt: skip
  expected = layer(tensor(x), src_key_padding_mask=~tensor(MASK)).detach().numpy()
  found = np.asarray(apply(params, x, MASK))
  np.testing.assert_allclose(found[MASK], expected[MASK], atol=1e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("width, is_causal", [(3, False), (4, False), (3, True)])
def test_the_token_convolution_equals_a_loop_in_numpy(width, is_causal):
  block = transformer.Block(2, 12, conv_width=width, is_causal=is_causal)
  x = np.random.default_rng(1).normal(size=(3, 6, 8)).astype(np.float32)
  params, apply = make(block, x)
  # With the later residual branches at 0, the result is x + gelu(W [neighbours of norm(x)]).
  for name in ("attention", "feed_forward_out"):
    params[name] = jax.tree.map(jnp.zeros_like, params[name])
  found = apply(params, x, MASK)
  scale, bias = params["window_norm"]["scale"], params["window_norm"]["bias"]
  for row, n, y in zip(x, (6, 4, 1), found):
    y_norm = (row - row.mean(-1, keepdims=True)) / np.sqrt(row.var(-1, keepdims=True) + 1e-5)
    tokens = (y_norm * scale + bias)[:n]
    for t in range(n):
      first = t - (width - 1 if is_causal else width // 2)
      near = [tokens[i] if 0 <= i < n else np.zeros(8) for i in range(first, first + width)]
      inner = np.concatenate(near) @ params["window"]["kernel"] + params["window"]["bias"]
      expected = row[t] + jax.scipy.stats.norm.cdf(inner) * inner
      np.testing.assert_allclose(y[t], expected, atol=1e-5)


@pytest.mark.full
def test_sown_attention_weights_are_per_head_and_zero_at_padding():
  model = small(num_layers=2)
  params, _ = make(model, IDS)
  _, sown = model.apply({"params": params}, IDS, MASK, mutable="attention")
  for i in range(2):
    (weights,) = sown["attention"][f"block{i}"]["weights"]
    assert weights.shape == (3, 2, 6, 6)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert not np.asarray(weights)[~np.broadcast_to(MASK[:, None, None], weights.shape)].any()


def test_dropout_is_random_in_training_only():
  model = small(dropout_rate=0.5)
  params, apply = make(model, IDS)
  train = jax.jit(functools.partial(model.apply, train=True))
  one, two = (train({"params": params}, IDS, rngs={"dropout": jax.random.key(s)}) for s in (0, 1))
  assert (np.asarray(one) != two).any()
  np.testing.assert_array_equal(apply(params, IDS), apply(params, IDS))


def test_unknown_positions_and_too_long_inputs_are_refused():
  with pytest.raises(ValueError, match="positions: expected sinusoidal.*got 'alibi'"):
    small(positions="alibi").init(jax.random.key(0), IDS)
  with pytest.raises(ValueError, match="at most max_length=4 tokens, got 6"):
    small(positions="learned", max_length=4).init(jax.random.key(0), IDS)


def test_the_logits_of_a_classifier_do_not_depend_on_padding():
  model = sequence_heads.Classifier(small(), 3)
  params, apply = make(model, IDS)
  together = apply(params, IDS, MASK)
  assert together.shape == (3, 3)
  for i, n in enumerate((6, 4, 1)):
    np.testing.assert_allclose(together[i], apply(params, IDS[i : i + 1, :n])[0], atol=1e-5)


def test_a_language_model_ties_its_output_to_the_embedding():
  model = sequence_heads.LanguageModel(small(is_causal=True))
  params, apply = make(model, IDS)
  assert apply(params, IDS).shape == (3, 6, 11)
  hidden = small(is_causal=True).apply({"params": params["transformer"]}, IDS)
  table = params["transformer"]["embedding"]["embedding"]
  np.testing.assert_allclose(apply(params, IDS), hidden @ table.T + params["bias"], atol=1e-5)
  masked = sequence_heads.LanguageModel(small(), mlm_transform=True)
  assert {"transform", "transform_norm"} < set(make(masked, IDS)[0])


def test_an_encoder_decoder_depends_on_the_source_but_not_on_padding_or_later_tokens():
  model = sequence_heads.EncoderDecoder(
      small(), sequence_heads.LanguageModel(small(is_causal=True))
  )
  source, target = IDS, IDS[:, ::-1]
  params, apply = make(model, source, target, MASK)
  logits = apply(params, source, target, MASK)
  padding_changed = jnp.where(MASK, source, 9)
  np.testing.assert_allclose(apply(params, padding_changed, target, MASK), logits, atol=1e-5)
  first_changed = source.at[:, 0].set((source[:, 0] + 1) % 11)
  assert (np.abs(apply(params, first_changed, target, MASK) - logits).max((-1, -2)) > 1e-3).all()
  future_changed = target.at[:, 3:].set(0)
  np.testing.assert_allclose(
      apply(params, source, future_changed, MASK)[:, :3], logits[:, :3], atol=1e-5
  )


@pytest.mark.parametrize("norm_first", [True, False])
def test_adapters_start_as_the_identity_and_then_change_the_result(norm_first):
  model, plain = small(adapter_size=3, norm_first=norm_first), small(norm_first=norm_first)
  params = jax.jit(model.init)(jax.random.key(0), IDS)["params"]
  block = {name for name in params["block0"] if "adapter" in name}
  assert len(block) == 4 and params["block0"]["attention_adapter_in"]["kernel"].shape == (8, 3)
  without = jax.tree.map(jnp.asarray, params)
  without["block0"] = {k: v for k, v in params["block0"].items() if k not in block}
  expected = plain.apply({"params": without}, IDS, MASK)
  np.testing.assert_allclose(model.apply({"params": params}, IDS, MASK), expected, atol=1e-6)
  kernel = params["block0"]["feed_forward_adapter_out"]["kernel"]
  params["block0"]["feed_forward_adapter_out"]["kernel"] = kernel.at[:, 0].add(1.0)
  assert np.abs(model.apply({"params": params}, IDS, MASK) - expected).max() > 1e-2


@pytest.mark.sampled(2)
@each_kind
def test_padding_is_invisible_beside_a_prefix(options):
  params, apply = make(small(**options, prefix_length=3), IDS)
  prefix = params["block0"].pop("attention_prefix")
  assert prefix["key"].shape == prefix["value"].shape == (3, 8)
  without = small(**options).apply({"params": params}, IDS, MASK)
  params["block0"]["attention_prefix"] = prefix
  padded = jnp.concatenate([jnp.where(MASK, IDS, 7), jnp.full((3, 4), 9)], -1)
  longer = jnp.concatenate([MASK, jnp.zeros((3, 4), bool)], -1)
  ours, theirs = apply(params, IDS, MASK), apply(params, padded, longer)[:, :6]
  np.testing.assert_allclose(ours[MASK], theirs[MASK], atol=1e-5)
  assert np.abs(ours - without)[MASK].max() > 1e-2


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary"])
def test_tokens_have_the_same_positions_after_a_prefix(positions):
  """A prefix whose keys get no weight changes nothing: large, against the one query of all."""
  params, apply = make(small(positions=positions, prefix_length=3), IDS)
  query = params["block0"]["attention"]["query"]
  query.update(kernel=0 * query["kernel"], bias=jnp.zeros(8).at[jnp.array([1, 5])].set(10.0))
  plain = {**params, "block0": {**params["block0"]}}
  expected = small(positions=positions).apply({"params": plain}, IDS, MASK)
  # Rotary positions turn the second pair of a head by t / 100 only.
  params["block0"]["attention_prefix"]["key"] = jnp.full((3, 8), -1e3).at[:, ::2].set(0)
  np.testing.assert_allclose(apply(params, IDS, MASK), expected, atol=1e-5)


@pytest.mark.full
def test_a_causal_network_with_prefixes_gives_the_same_from_its_cache():
  model = small(is_causal=True, positions="rotary", prefix_length=3)
  params, apply = make(model, IDS)
  expected, cache, found = apply(params, IDS), model.init_cache((3,)), []
  for piece in (IDS[:, :4], IDS[:, 4:5], IDS[:, 5:]):
    y, cache = model.apply({"params": params}, piece, cache=cache)
    found.append(y)
  np.testing.assert_allclose(np.concatenate(found, 1), expected, atol=1e-5)
  changed = apply(params, IDS.at[:, 4].set(3))
  np.testing.assert_allclose(changed[:, :4], expected[:, :4], atol=1e-6)


@pytest.mark.sampled(2)
@each_kind
def test_bfloat16_blocks_are_close_and_return_float32(options):
  params, apply = make(small(**options), IDS)
  half = small(**options, dtype="bfloat16").apply({"params": params}, IDS, MASK)
  assert half.dtype == jnp.float32
  wide = apply(params, IDS, MASK)
  assert 1e-5 < np.abs(half - wide)[MASK].max() < 0.1 * np.abs(wide).max()


def test_a_language_model_computes_logits_at_given_positions():
  model = sequence_heads.LanguageModel(small(), mlm_transform=True)
  params, apply = make(model, IDS)
  positions = jnp.array([[1, 3], [0, 0], [5, 2]])
  some = model.apply({"params": params}, IDS, MASK, positions=positions)
  expected = np.take_along_axis(np.asarray(apply(params, IDS, MASK)), positions[..., None], 1)
  np.testing.assert_allclose(some, expected, atol=1e-5)

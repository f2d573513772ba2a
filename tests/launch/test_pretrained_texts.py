"""Classifiers that begin with an encoder: from masked language modelling, or a published one."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from dlx.data import labelled_text, tokens

CONFIG = "--config=experiments/transformer_sentiment/config.py"
QUICK = (
    "--config.training.total_steps=40", "--config.training.eval_every=40",
    "--config.data.buckets=1",  # Each has a program of its own.
)  # fmt: skip


@pytest.fixture(scope="module")
def pretrained(programs, tmp_path_factory):
  """The folder of a run of masked language modelling."""
  workdir = tmp_path_factory.mktemp("masked") / "run"
  finished = programs("launch.train", f"{CONFIG}:debug_pretrain", f"--workdir={workdir}")
  assert finished.code == 0, finished
  return workdir


def test_masked_modelling_resumed_is_the_run_left_alone(resumes, pretrained):
  resumes(f"{CONFIG}:debug_pretrain", pretrained, before=90, last=120)


def test_masked_modelling_is_evaluated_and_fills_masks(programs, pretrained):
  finished = programs("launch.evaluate", f"--workdir={pretrained}", "--split=test")
  figures = dict(line.split(": ") for line in finished.out.splitlines()[1:])
  assert float(figures["accuracy"]) > 0.3 and float(figures["loss"]) < 3.0, finished
  args = ("the plot [MASK] dull", "her [MASK] was great")
  finished = programs("launch.predict", f"--workdir={pretrained}", "--top=2", *args)
  assert finished.code == 0, finished
  first, second = finished.out.splitlines()
  assert first.startswith("the plot [MASK] dull: was ") and len(second.split(", ")) == 2
  refused = programs("launch.predict", f"--workdir={pretrained}", "no mask here")
  assert refused.code == 2 and "text 1 has no [MASK]" in refused.err


def parameters(state, workdir, step=40):
  return state(workdir, step)["params"]["network"]["transformer"]


@pytest.mark.parametrize("exported", [False, True], ids=["run", "export"])
def test_a_classifier_begins_with_the_encoder_and_its_tokenizer(
    programs, state, pretrained, tmp_path, exported
):
  source = pretrained
  if exported:
    source = tmp_path / "exported"
    assert programs("launch.export", f"--workdir={pretrained}", f"--output={source}").code == 0
  workdir = tmp_path / "run"
  finished = programs(
      "launch.train", f"{CONFIG}:debug", f"--workdir={workdir}", f"--config.init_from={source}",
      "--config.trainable=last_1", "--config.encoder.d_model=64", *QUICK,
  )  # fmt: skip
  assert finished.code == 0, finished
  for name in ("tokenizer.json", "encoder.json"):
    assert (workdir / name).read_bytes() == (pretrained / name).read_bytes()
  old = state(pretrained, 120)["ema"]["transformer"]
  new = parameters(state, workdir)
  jax.tree.map(np.testing.assert_array_equal, new["block0"], old["block0"])
  np.testing.assert_array_equal(new["embedding"]["embedding"], old["embedding"]["embedding"])
  new, old = (p["block1"]["attention"]["query"]["kernel"] for p in (new, old))
  assert np.abs(new - old).max() > 1e-3


@pytest.fixture
def published(tmp_path):
  """A folder like those of published encoders, small, with random weights."""
  folder = tmp_path / "encoder"
  folder.mkdir()
  words = sorted({w for t in labelled_text.sentences(200).texts for w in t.split()})
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


def test_a_published_encoder_is_finetuned_and_then_stands_alone(
    programs, state, published, tmp_path
):
  workdir = tmp_path / "run"
  flags = (
      f"{CONFIG}:debug", f"--config.init_from={published}", "--config.trainable=adapters",
      "--config.model.adapter_size=4", "--config.model.ngrams=0", *QUICK,
  )  # fmt: skip
  finished = programs("launch.train", *flags, f"--workdir={workdir}")
  assert finished.code == 0, finished
  block = parameters(state, workdir)["block1"]
  assert np.abs(block["attention_adapter_out"]["kernel"]).max() > 1e-3
  (published / "model.safetensors").unlink()  # The run does not need the folder any more.
  long = "the film was great and " * 10  # Longer than the tokenizer's own limit of 8.
  finished = programs("launch.predict", f"--workdir={workdir}", long + "warm", "the plot was dull")
  assert finished.code == 0 and len(finished.out.splitlines()) == 2, finished


def test_encoders_that_cannot_be_used_are_refused_in_a_line(programs, published, tmp_path):
  gru = tmp_path / "gru"
  gru.mkdir()
  (gru / "config.json").write_text('{"experiment": "experiments.gru_lm"}')
  other = json.loads((published / "config.json").read_text()) | {"vocab_size": 99}
  cases = {
      "is not a run": (f"--config.init_from={tmp_path / 'nothing'}",),
      "no checkpoint": (f"--config.init_from={gru}",),
      "learned 24 positions": (
          f"--config.init_from={published}", "--config.data.max_length=25",
      ),
  }  # fmt: skip
  for message, args in cases.items():
    workdir = tmp_path / "run"
    finished = programs("launch.train", f"{CONFIG}:debug", f"--workdir={workdir}", *args)
    assert finished.code == 2 and message in finished.err, finished
    assert finished.err.count("\n") == 1 and not workdir.exists()
  (published / "config.json").write_text(json.dumps(other))
  finished = programs(
      "launch.train", f"{CONFIG}:debug", f"--workdir={workdir}", f"--config.init_from={published}"
  )
  assert finished.code == 2 and "the encoder has 99" in finished.err, finished

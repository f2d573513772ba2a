"""A language model of characters: a stack of GRU layers (or LSTM, or simple RNN)."""

from collections.abc import Callable, Iterator
import json
import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from dlx.data import batches
from dlx.data import corpus as corpora
from dlx.data.text import Vocabulary
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.layers import decoding, losses
from dlx.models.language_model import CELLS, RecurrentLanguageModel
from dlx.reports import figures
from dlx.runs import run as runs
from dlx.runs import workdir as workdirs
from dlx.training import optimizers, sharding
from dlx.training import state as states
from dlx.training.fit import fit

VOCABULARY, CORPUS = "vocabulary.json", "corpus.json"
_LANES = 8  # Texts read side by side for the streaming figure.
_PIECE = 250  # Characters drawn in one compiled call.


def load_corpus(config: ml_collections.ConfigDict) -> corpora.Corpus:
  """The text that `config.data` names: a file, or a named corpus."""
  if config.data.text:
    return corpora.from_file(config.data.text)
  if config.data.source == "tiny_shakespeare":
    return corpora.tiny_shakespeare()
  if config.data.source == "python_source":
    return corpora.python_source(config.data.max_characters)
  raise UserError(
      f"config.data.source is {config.data.source!r}; use tiny_shakespeare or python_source, "
      f"or give a file by --config.data.text=PATH"
  )


def make_model(config: ml_collections.ConfigDict, vocab_size: int) -> RecurrentLanguageModel:
  """The network that `config.model` describes."""
  if config.model.cell not in CELLS:
    raise UserError(f"config.model.cell is {config.model.cell!r}; use {', '.join(CELLS)}")
  for name in ("d_embed", "d_hidden", "num_layers"):
    if config.model[name] < 1:
      raise UserError(f"config.model.{name} is {config.model[name]}; it must be at least 1")
  for name in ("dropout_rate", "recurrent_dropout_rate"):
    if not 0 <= config.model[name] < 1:
      raise UserError(f"config.model.{name} is {config.model[name]}; use 0 <= rate < 1")
  return RecurrentLanguageModel(vocab_size, **config.model)


def make_loss(model: RecurrentLanguageModel):
  """`loss(params, variables, batch, rng) -> (loss, (metrics, variables))`, nats a character.

  In a stream, `variables` are the layers' carries, and start at zero with the text.
  """

  def loss_fn(params, variables, batch, rng):
    inputs, targets, *fresh = batch
    carries = None
    if fresh:
      carries = jax.tree.map(lambda c: jnp.where(fresh[0], 0, c), variables["carries"])
    logits, carries = model.apply(
        {"params": params}, inputs, carries, train=True, rngs={"dropout": rng}
    )
    variables = {"carries": jax.lax.stop_gradient(carries)} if fresh else variables
    return losses.cross_entropy(logits, targets), ({}, variables)

  return loss_fn


def make_batch(config: ml_collections.ConfigDict):
  """`batch(tokens, step, rng)`: random windows, or windows that continue each other."""
  sizes = {"batch_size": config.data.batch_size, "window": config.data.window}
  if config.data.stream:
    return lambda tokens, step, rng: batches.stream_windows(tokens, step, **sizes)
  return lambda tokens, step, rng: batches.random_windows(tokens, rng, **sizes)


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Trains, or goes on training, in workdir."""
  corpus = load_corpus(config)
  vocabulary = Vocabulary(corpus.characters)
  tokens = vocabulary.encode(corpus.train)
  validation = vocabulary.encode(corpus.validation)
  lanes = config.data.batch_size if config.data.stream else 1
  batches.check_length("training", len(tokens), config.data.window, lanes)
  batches.check_length("validation", len(validation), config.data.eval_window)
  mesh = sharding.make_mesh(config.training.fsdp)
  sharding.check_batch_size(config.data.batch_size, mesh)
  model = make_model(config, len(vocabulary))
  optimizer = optimizers.adamw(config.optimizer, config.training.total_steps)

  workdirs.open_(workdir, config)
  processes.on_first(lambda: _record_corpus(workdir, corpus, vocabulary))

  def init():
    ids = jnp.zeros((config.data.batch_size, 1), jnp.int32)
    params = model.init(jax.random.key(config.seed), ids)["params"]
    _, carries = model.apply({"params": params}, ids)
    variables = {"carries": jax.tree.map(jnp.zeros_like, carries)} if config.data.stream else {}
    averaged = config.training.ema_decay is not None
    return states.create(params, optimizer, variables=variables, averaged=averaged)

  score = make_score(model, validation, config.data.eval_window, mesh)
  fit(
      workdir,
      config.training,
      seed=config.seed,
      init=init,
      loss_fn=make_loss(model),
      batch_fn=make_batch(config),
      data=jnp.asarray(tokens),
      optimizer=optimizer,
      validate=lambda state: {"loss": score(state.eval_params)},
  )
  run = runs.load(workdir)
  if processes.is_first():
    figures.curves(workdir, unit="nats per character")
    text = "".join(sample(run, "", 1000, temperature=0.8))
    (workdir / "samples.txt").write_text(text + "\n", encoding="utf-8")


def make_score(
    model: RecurrentLanguageModel, tokens: np.ndarray, window: int, mesh: jax.sharding.Mesh
):
  """`score(params)`: nats per character over windows that each start from a zero state.

  A few windows are read at a time, and shared out to the devices of the mesh.
  """
  inputs, targets = batches.consecutive_windows(tokens, window)
  rows = sharding.rows(min(64, len(inputs)), mesh)
  padding = -len(inputs) % rows

  def in_chunks(x):
    return np.pad(x, ((0, padding), (0, 0))).reshape(-1, rows, window)

  count = in_chunks(np.ones_like(inputs, bool))
  chunks = sharding.on_every_device((in_chunks(inputs), in_chunks(targets), count), mesh)

  @jax.jit
  def total(params, chunks):
    def chunk_total(chunk):
      x, y, mask = sharding.split_batch(chunk, mesh)
      logits, _ = model.apply({"params": params}, x)
      return losses.cross_entropy(logits, y, mask) * mask.sum()

    return jax.lax.map(chunk_total, chunks).sum()

  return lambda params: float(total(sharding.whole(params, mesh), chunks)) / count.sum()


def stream_score(model: RecurrentLanguageModel, params, tokens: np.ndarray, window: int) -> float:
  """Nats per character when the state is carried through the text, in a few lanes."""
  inputs, targets = batches.consecutive_windows(tokens, (len(tokens) - 1) // _LANES)
  steps = inputs.shape[1] // window

  def windows(x):
    return x[:, : steps * window].reshape(_LANES, steps, window).swapaxes(0, 1)

  @jax.jit
  def total(params, inputs, targets):
    def advance(carries, batch):
      logits, carries = model.apply({"params": params}, batch[0], carries)
      return carries, losses.cross_entropy(logits, batch[1])

    _, carries = model.apply({"params": params}, inputs[0, :, :1])
    first = jax.tree.map(jnp.zeros_like, carries)
    return jax.lax.scan(advance, first, (inputs, targets))[1].mean()

  return float(total(params, windows(inputs), windows(targets)))


def calibrate(params: dict, score: Callable[[dict], float]) -> tuple[float, dict]:
  """The temperature T that gives `score` its minimum, and the params with logits / T.

  A network that has learned its training text almost by heart is too sure of itself; one
  number, chosen on held-out text, takes that back and leaves the order of the characters
  as it is.

  Args:
    params: of the model.
    score: the loss of params on held-out text.

  Returns:
    (T, params whose output layer is divided by T), with T in [0.5, 2].

  Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (2017),
    section 4.2.
  """

  import scipy.optimize  # Takes half a second, and training does without.

  def divided(temperature):
    output = jax.tree.map(lambda p: p / temperature, params["output"])
    return {**params, "output": output}

  found = scipy.optimize.minimize_scalar(
      lambda t: score(divided(t)), bounds=(0.5, 2.0), method="bounded", options={"xatol": 1e-3}
  )
  return float(found.x), divided(found.x)


def evaluate(run: runs.Run, split: str) -> dict[str, float]:
  """Nats per character on a split: in windows without a carried state, and streaming.

  Each also with the temperature that suits the validation split best.

  Args:
    run: an opened run.
    split: "train", "validation", "test", or a sum such as "validation+test".
  """
  corpus = load_corpus(run.config)
  text = corpus.split(split)
  _check_corpus(run.workdir, corpus)
  vocabulary = Vocabulary.load(run.workdir / VOCABULARY)
  tokens, window = vocabulary.encode(text), run.config.data.eval_window
  batches.check_length(split, len(tokens), window, _LANES)
  model = make_model(run.config, len(vocabulary))
  validation, mesh = vocabulary.encode(corpus.validation), sharding.make_mesh()
  temperature, calibrated = calibrate(run.params, make_score(model, validation, window, mesh))
  score = make_score(model, tokens, window, mesh)
  return {
      "characters": len(tokens),
      f"loss in windows of {window}": score(run.params),
      "loss streaming": stream_score(model, run.params, tokens, window),
      "temperature fitted on validation": temperature,
      f"loss in windows of {window} at that temperature": score(calibrated),
      "loss streaming at that temperature": stream_score(model, calibrated, tokens, window),
  }


def sample(
    run: runs.Run, prompt: str, length: int, *, seed: int = 0, **options
) -> Iterator[str]:
  """Yields the continuation of a prompt, piece by piece.

  Args:
    run: an opened run.
    prompt: read by the model in one scan; a newline when empty (or, in a text
      of one line, the first of its characters in order).
    length: characters to draw.
    seed: of the draws.
    **options: temperature, top_k, top_p of dlx.layers.decoding.sample.
  """
  vocabulary = Vocabulary.load(run.workdir / VOCABULARY)
  first = "\n" if "\n" in vocabulary.characters else vocabulary.characters[0]
  ids = jnp.asarray(vocabulary.encode(prompt or first))
  model = make_model(run.config, len(vocabulary))

  read = jax.jit(lambda params, ids: model.apply({"params": params}, ids))

  @jax.jit
  def draw(params, state, rng):
    def step(carries, token):
      logits, carries = model.apply({"params": params}, token[None], carries)
      return carries, logits[-1]

    return decoding.generate(rng, step, *state, _PIECE, **options)

  logits, carries = read(run.params, ids)
  state = carries, logits[-1]
  for start in range(0, length, _PIECE):
    rng = jax.random.fold_in(jax.random.key(seed), start)
    drawn, state = draw(run.params, state, rng)
    yield vocabulary.decode(np.asarray(drawn)[: length - start])


def _record_corpus(workdir: pathlib.Path, corpus: corpora.Corpus, vocabulary: Vocabulary) -> None:
  if (workdir / CORPUS).exists():
    return _check_corpus(workdir, corpus)
  vocabulary.save(workdir / VOCABULARY)
  sizes = {split: len(corpus.split(split)) for split in corpora.SPLITS}
  record = {"name": corpus.name, "fingerprint": corpus.fingerprint, "characters": sizes}
  (workdir / CORPUS).write_text(json.dumps(record, indent=2) + "\n")


def _check_corpus(workdir: pathlib.Path, corpus: corpora.Corpus) -> None:
  recorded = json.loads((workdir / CORPUS).read_text())
  if recorded["fingerprint"] != corpus.fingerprint:
    raise UserError(
        f"the text {corpus.name} is not the one that the run in {workdir} began with; "
        f"bring that one back, or train in another --workdir"
    )

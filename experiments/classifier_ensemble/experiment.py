"""A log-linear pool of finished document classifiers.

  p(c | document) = softmax(sum_m w_m log p_m(. | document))_c

The weights are fitted on the validation split, which no member was trained on, or are those of such
an ensemble: init_fn is the whole training. dlx.metrics.log_linear has the fit.
"""

import jax
import jax.numpy as jnp
import numpy as np

import dlx
from dlx.data import documents, expect
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.experiment import Data, Task
from dlx.metrics import classification, log_linear
from dlx.reports import confusions
from dlx.training import classifiers


def load(config, assets=None) -> Data:
  """Documents as read by each member, sorted by length; the members without their variables."""
  if assets is None:
    assets = classifiers.make_assets(opened(config))
  members = classifiers.make_members(assets)
  parts = documents.from_options(members[0].config.data)

  def arrays(part):
    part = part.take(classifiers.by_length(part.texts))
    text = np.array(part.texts, object)
    return {**read(members, part.texts), "labels": part.labels, "text": text}

  def fit():
    runs, validation = opened(config), parts.validation
    if config.weights_from:
      weights = weights_of(config.weights_from, runs)
    else:
      log_p = np.stack([classifiers.log_probabilities(run, validation.texts) for run in runs])
      weights = log_linear.fit(log_p, validation.labels)
    for run, weight in zip(runs, weights):
      processes.notice(f"{run.workdir}: weight {weight:.3f}")
    variables = [jax.device_get(run.eval_variables) for run in runs]
    return {"params": {"weights": np.float32(weights)}, "members": variables}

  return Data(
      validation=arrays(parts.validation), test=arrays(parts.test), assets=assets, pretrained=fit
  )


def opened(config) -> list:
  """The members; errors are those of classifiers.opened and check_data."""
  runs = classifiers.opened(config.members)
  check_data(runs, may_refit=config.weights_from is not None)
  return runs


def weights_of(folder: str, runs) -> np.ndarray:
  """The weights (M,) of a finished ensemble of runs of the same experiments, in the same order.

  Raises:
    UserError: the folder has no such ensemble.
  """
  ensemble, names = dlx.load_run(folder), [run.config.experiment for run in runs]
  known = [member["config"]["experiment"] for member in ensemble.assets.get("members", ())]
  if known != names:
    raise UserError(
        f"the run in {folder} has no weights for {', '.join(names)}; config.weights_from names an "
        f"ensemble of the same experiments in the same order"
    )
  return np.asarray(ensemble.params["weights"])


def check_data(runs, *, may_refit: bool = False) -> None:
  """Raises UserError unless the runs left the same validation documents out of their training.

  With `may_refit` a run may have been trained on them, too.
  """
  data = [run.config.get("data", {}) for run in runs]
  for run, options in zip(runs, data):
    if "num_validation" not in options:
      raise UserError(f"{run.workdir} is an ensemble itself; name its members instead")
    if options.get("refit") and not may_refit:
      raise UserError(
          f"the run in {run.workdir} was trained on the validation documents too, on which the "
          f"weights are fitted; train one with data.refit=False, or take the weights of another "
          f"ensemble, config.weights_from"
      )
    if name := classifiers.differing_documents(data[0], options):
      raise UserError(
          f"the runs in {runs[0].workdir} and {run.workdir} were trained on other documents: "
          f"data.{name} is {data[0].get(name)!r} and {options.get(name)!r}"
      )


def read(members, lines) -> dict:
  """The arrays of documents of each member, "1.ids" for example."""
  return {f"{i}.{k}": v for i, m in enumerate(members) for k, v in m.task.read(lines).items()}


def make(config, assets) -> Task:
  """The pool."""
  classes = expect.names("classes", assets["classes"])
  members = classifiers.make_members(assets)

  def init_fn(rng, data):
    del rng
    if data.pretrained is not None:
      return dict(data.pretrained)
    weights = jnp.zeros(len(members))
    return {"params": {"weights": weights}, "members": classifiers.empty_variables(assets)}

  def member_logits(variables, batch):
    return [
        jax.nn.log_softmax(m.task.outputs_fn(own, classifiers.part(batch, i)))
        for i, (m, own) in enumerate(zip(members, variables["members"]))
    ]

  def pooled(variables, logits):
    return jnp.tensordot(variables["params"]["weights"], jnp.stack(logits), 1)

  def logits_fn(variables, batch):
    return pooled(variables, member_logits(variables, batch))

  def eval_fn(variables, batch, rng):
    each, labels = member_logits(variables, batch), batch["labels"]
    of_pool = classification.make_eval(lambda *_: pooled(variables, each))
    names = [m.config.experiment.rpartition(".")[2] for m in members]
    right = {
        f"accuracy of member {i}, {name}": logits.argmax(-1) == labels
        for i, (name, logits) in enumerate(zip(names, each))
    }
    return {**of_pool(variables, batch, rng), **right}

  def read_lines(lines):
    return read(members, lines)

  return Task(
      init_fn, eval_fn=eval_fn, measure_fn=classification.make_measure(eval_fn, classes),
      best="-accuracy", predict=classification.make_predict(logits_fn, classes, read_lines),
      plot=confusions.make_plot(eval_fn, classes), outputs_fn=logits_fn, read=read_lines,
      unit="nats per document",
  )  # fmt: skip

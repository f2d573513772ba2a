"""Models that are linear in features of the input: regression and classification.

  z = W phi(x) + b,   minimize  mean_i l(z_i, y_i) + (l2 / 2) |W|^2 + l1 |W|_1

phi are the inputs, or their monomials up to a degree. l is the squared error of a number, or the
cross-entropy of a class by softmax, one against the rest or one against one
(dlx.models.multiclass). The perceptron and naive Bayes find W and b in their own ways. With
model.solver=exact, `linear_models.fit` is the whole training.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlx.data import expect, schema, vectors
from dlx.errors import UserError
from dlx.experiment import Data, Loss, Task
from dlx.layers import linear
from dlx.metrics import regression
from dlx.models import linear_models, multiclass, perceptron, polynomial, ridge
from dlx.reports import coefficients, loss_surface, plane
from dlx.reports import vectors as reports
from dlx.training import optimizers, proximal

_LONGEST = 500  # Monomials up to which errors are drawn over the degree.
_SURFACE = 2000  # Training examples of the loss surface.


def load(config, assets=None) -> Data:
  """Inputs with labels or targets; mean and scale of the features of the training split."""
  options = config.model
  task = "regression" if options.kind == "squared" else "classification"
  data = vectors.load(config.data, task, assets)
  inputs = data.train["inputs"]
  if assets is None and options.degree > 1:
    found = polynomial.standardized(inputs, monomials(options, inputs.shape[1]))
    known = {"feature_mean": found.mean, "feature_scale": found.scale}
    data = data._replace(assets={**data.assets, **known})

  def fit():
    phi = features(options, data.assets)(inputs)
    used = {key: options[key] for key in ("l2", "passes", "average") if key in options}
    num_classes = len(data.assets.get("classes", ()))
    return linear_models.fit(
        options.kind, phi, data.train, num_classes, seed=config.seed, **used
    )

  return data._replace(pretrained=fit) if options.solver == "exact" else data


def monomials(options, size: int) -> np.ndarray:
  """The monomials of D = size inputs that config.model describes."""
  return polynomial.monomials(size, options.degree, squares=options.monomials == "all")


def features(options, assets) -> polynomial.Features:
  """phi, with the statistics of the training split; the inputs themselves where the degree is 1."""
  if options.degree == 1:
    return polynomial.Features()
  rows = monomials(options, schema.of(assets).size)
  names = ("feature_mean", "feature_scale")
  return polynomial.Features(rows, *(expect.array(k, assets[k], rows.shape[:1]) for k in names))


def make(config, assets) -> Task:
  """The model that config.model describes."""
  options, kind, known = config.model, config.model.kind, schema.of(assets)
  phi, num_classes = features(options, assets), len(known.classes or ())
  size = known.size if options.degree == 1 else len(phi.mean)
  loss = {"kind": kind, "l2": options.get("l2", 0.0)}

  def init_fn(rng, data):
    del rng  # The loss is convex: any start will do.
    if data.pretrained is not None:
      return data.pretrained
    return {"params": perceptron.zeros(size, linear_models.num_outputs(kind, num_classes))}

  def loss_fn(variables, batch, rng):
    return Loss(linear_models.objective(variables["params"], phi(batch["inputs"]), batch, **loss))

  def outputs_fn(variables, batch):
    scores = linear.apply(variables["params"], phi(batch["inputs"]))
    return linear_models.outputs(kind, scores)

  def plot(variables, data, split, apply):
    drawn = shared.plot(variables, data, split, apply)
    params = jax.tree.map(jnp.asarray, variables["params"])
    drawn["weights"] = draw_weights(np.asarray(params["kernel"]), options, known)
    if kind == "squared":
      drawn |= draw_degrees(data, split, options, known)
    if config.get("loss_surface"):
      batch = {name: array[:_SURFACE] for name, array in data.train.items()}
      of = lambda params, **given: linear_models.objective(params, **given, **loss)  # noqa: E731
      given = {"phi": phi(batch["inputs"]), "batch": batch}
      drawn["loss_surface"] = loss_surface.draw(loss_surface.around(of, params, given))
    return drawn

  def measure_fn(variables, data, split, apply):
    found = shared.measure_fn(variables, data, split, apply) | variables.get("solver", {})
    if kind == "perceptron":
      x, labels = phi(data.train["inputs"]), data.train["labels"]
      found |= linear_models.convergence(variables["mistakes"], x, labels, num_classes)
    return found

  shared = reports.shared(outputs_fn, known)
  return Task(
      init_fn, loss_fn, shared.eval_fn, optimizer=descent(config), measure_fn=measure_fn,
      predict=shared.predict, plot=plot, outputs_fn=outputs_fn, unit=shared.unit,
  )  # fmt: skip


def descent(config) -> optax.GradientTransformation | None:
  """Gradient descent, with the soft threshold of model.l1 behind each step."""
  if config.model.solver == "exact":
    return None
  total_steps = config.training.total_steps
  step = optimizers.sgd(total_steps=total_steps, **config.optimizer)
  if not config.model.l1:
    return step
  rate = {key: value for key, value in config.optimizer.items() if key != "momentum"}
  rate = optimizers.schedule(total_steps=total_steps, **rate)
  return optax.chain(step, proximal.l1(rate, config.model.l1))


def draw_weights(kernel, options, known):
  """The columns of W as images or bars, named by what they are for."""
  names = known.classes or ["target"]
  if options.kind == "one_vs_one":
    names = [f"{names[i]} or\n{names[j]}" for i, j in multiclass.pairs(len(names))]
  if known.shape and options.degree == 1:
    return coefficients.images(kernel, known.shape, names)
  inputs = known.features or [f"pixel {i}" for i in range(known.size)]
  return coefficients.bars(
      kernel, polynomial.names(monomials(options, known.size), inputs), names
  )


def draw_degrees(data, split, options, known) -> dict:
  """Errors of polynomials of degree 1, 2, ..., in closed form: under- and overfitting."""
  parts = {"training": data.train, split: data.split(split)}
  errors = {name: [] for name in parts}
  for degree in range(1, max(12, options.degree) + 1):
    squares = options.monomials == "all"
    if polynomial.count(known.size, degree, squares=squares) > _LONGEST:
      break
    rows = polynomial.monomials(known.size, degree, squares=squares)
    phi = polynomial.standardized(data.train["inputs"], rows)
    try:
      (params,) = ridge.fit(phi(data.train["inputs"]), data.train["targets"], [options.l2 / 2])
    except UserError:  # Without a penalty, more features than the rows determine.
      break
    for name, part in parts.items():
      found = phi(part["inputs"]) @ params["kernel"][:, 0] + params["bias"]
      errors[name].append(regression.rmse(known.numbers(found), known.numbers(part["targets"])))
  degrees = range(1, len(errors[split]) + 1)
  return {f"degrees_{split}": plane.lines(degrees, errors, ("degree", "RMSE"))} if degrees else {}

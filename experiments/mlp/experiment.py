"""A feed-forward network for vectors: rows of a table, images, points.

  z = W_{L+1} f(... f(W_1 x + b_1) ...) + b_{L+1}

The loss is the cross-entropy of softmax(z), or the squared error of a number z. dlx.models.mlp has
the network and its activations f.
"""

import jax.numpy as jnp
import numpy as np

from dlx.data import schema, vectors
from dlx.experiment import Data, Loss, Task
from dlx.layers import losses
from dlx.models import mlp
from dlx.reports import coefficients
from dlx.reports import vectors as reports

_DRAWN = 50  # Hidden units whose weights are drawn.


def load(config, assets=None) -> Data:
  """Inputs with labels or targets, standardized; images less the mean image."""
  return vectors.load(config.data, config.task, assets)


def make(config, assets) -> Task:
  """The network that config.model describes."""
  options, known = config.model, schema.of(assets)
  hidden = [int(size) for size in options.sizes.split("-") if size]
  sizes = [known.size, *hidden, len(known.classes or "1")]

  def init_fn(rng, data):
    return {"params": mlp.init(rng, sizes, options.activation)}

  def outputs_fn(variables, batch, rng=None):
    z = mlp.apply(
        variables["params"], batch["inputs"], options.activation, rng=rng,
        dropout_rate=options.dropout_rate,
    )  # fmt: skip
    return z if known.classes else z[:, 0]

  def loss_fn(variables, batch, rng):
    outputs, weights = outputs_fn(variables, batch, rng), batch.get("weights")
    if not known.classes:
      return Loss(losses.squared_error(outputs, batch["targets"], weights=weights))
    right = (outputs.argmax(-1) == batch["labels"]).astype(jnp.float32)
    loss = losses.cross_entropy(outputs, batch["labels"], weights=weights)
    return Loss(loss, {"accuracy": losses.masked_mean(right, weights=weights)})

  def plot(variables, data, split, apply):
    drawn = shared.plot(variables, data, split, apply)
    if known.shape:
      kernel = np.asarray(variables["params"]["layer0"]["kernel"])[:, :_DRAWN]
      names = [str(i) for i in range(kernel.shape[1])] if hidden else known.classes
      drawn["weights"] = coefficients.images(kernel, known.shape, names)
    return drawn

  shared = reports.shared(outputs_fn, known)
  return Task(
      init_fn, loss_fn, shared.eval_fn, measure_fn=shared.measure_fn, predict=shared.predict,
      plot=plot, outputs_fn=outputs_fn, unit=shared.unit,
  )  # fmt: skip

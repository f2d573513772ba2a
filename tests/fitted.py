"""An experiment trained by its functions alone: no folder, checkpoints, or devices."""

from typing import NamedTuple

import jax
import numpy as np
import optax

from dlx.experiment import Data, Rngs, Task, numeric
from dlx.training import train as training


class Fitted(NamedTuple):
  """What a config's task learned from its data."""

  task: Task
  data: Data
  variables: dict

  def apply(self, function, arrays, **_):
    """`apply` of dlx.experiment.Task."""
    found = function(self.variables, numeric(arrays), jax.random.key(0))
    return jax.tree.map(np.asarray, found)

  def measure(self, split="test") -> dict[str, float]:
    """The metrics of eval_fn and measure_fn."""
    rows = self.apply(self.task.eval_fn, self.data.split(split))
    means = {name: float(np.mean(values)) for name, values in rows.items()}
    return means | self.task.measure_fn(self.variables, self.data, split, self.apply)

  def predict(self, lines, **options):
    """`predict` of the task."""
    return self.task.predict(self.variables, lines, self.apply, **options)

  def plot(self, split="validation"):
    """`plot` of the task."""
    return self.task.plot(self.variables, self.data, split, self.apply)


def fit(config) -> Fitted:
  """Solves, or takes config.training.total_steps steps in one compiled loop."""
  prepared = training.prepare(config, None)
  task, data, rng = prepared.task, prepared.data, jax.random.key(config.seed)
  variables, train = task.init_fn(rng, data), numeric(data.train)

  @jax.jit
  def steps(params, train):
    def step(carry, i):
      params, state = carry
      batch = task.batch_fn(train, i, Rngs(rng, jax.random.fold_in(rng, i)))
      loss = lambda p: task.loss_fn({"params": p}, batch, jax.random.fold_in(rng, i)).value  # noqa: E731
      updates, state = task.optimizer.update(jax.grad(loss)(params), state, params)
      return (optax.apply_updates(params, updates), state), None

    start = params, task.optimizer.init(params)
    return jax.lax.scan(step, start, np.arange(prepared.config.training.total_steps))[0][0]

  if prepared.config.training.total_steps:
    variables = {**variables, "params": steps(variables["params"], train)}
  return Fitted(task, data, variables)

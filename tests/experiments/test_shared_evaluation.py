"""What many devices evaluate: each of them computes its own texts, images or windows alone."""

# The network is a stand-in that notes, while XLA lays the program out, how many rows each
# device has of what it is given. All numbers stay as they are without sharing, so they
# cannot show it.
PROGRAM = '''
import jax, jax.numpy as jnp, numpy as np
from dlx.training import sharding
from experiments.gru_lm.experiment import make_score
from experiments.resnet_cifar10.evaluation import make_classify as classify_images
from experiments.transformer_sentiment import config as text_config
from experiments.transformer_sentiment.evaluation import make_classify as classify_texts

mesh = sharding.make_mesh()
seen = set()

class Network:
  def __init__(self, score):
    self.score = score

  def apply(self, variables, x, *_):
    jax.debug.inspect_array_sharding(
        x, callback=lambda s: seen.add((len(x), s.shard_shape(x.shape)[0]))
    )
    return self.score(variables["params"] * x)

def rows():
  found = sorted(seen)
  seen.clear()
  return found

one = jnp.ones(())
config = text_config.get_config("debug")
texts = classify_texts(config, Network(lambda x: jnp.stack([x.sum(-1), -x.sum(-1)], -1)), mesh)
ids, lengths = np.ones((100, 20), np.int32), np.full(100, 20, np.int32)
assert texts(one, {}, ids, lengths).tolist() == [[20, -20]] * 100
print("texts", *rows())

images = classify_images(Network(lambda x: x.mean((1, 2))), jnp.float32, "flip", mesh)
norm = {"normalization": {"mean": jnp.zeros(3), "std": jnp.ones(3)}}
assert images(one, norm, np.full((30, 4, 4, 3), 255, np.uint8)).shape == (30, 3)
print("images", *rows())

network = Network(lambda x: (x[..., None] * jnp.ones(2), None))
score = make_score(network, np.ones(401, int), 8, mesh)
assert abs(score(one) - np.log(2)) < 1e-6
print("windows", *rows())
'''


def test_each_of_eight_devices_evaluates_its_own_rows(on_eight_devices):
  assert on_eight_devices(PROGRAM) == [
      "texts (64, 8)",
      "images (64, 8)",  # 32 with those that fill up, each of them mirrored, too.
      "windows (56, 7)",
  ]

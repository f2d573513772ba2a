"""Autoencoders of images: a code h that is smaller, sparser or smoother than the image x.

  loss = distance(x, x') + penalty,   h = encode(corrupted x),   z = h or drawn around h

with x' = decode(z) and pixels in [0, 1]. Each layer is h = s(x W + b) and x' = s(h V + c), with
V = W^T where weights are tied. s is the sigmoid, and the distance cross-entropy in nats; or the
identity on centered pixels, without biases, and the distance ||x - x'||^2.

Source: Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks"
  (2006); Baldi and Hornik (1989), linear; Ng, CS294A lecture notes (2011), and Ranzato et al.
  (2007), sparse; Vincent et al. (2008), denoising; Rifai et al. (2011), contractive; Bengio et
  al., "Greedy layer-wise training of deep networks" (2007), stacked.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import rel_entr
import numpy as np
import optax

import dlx
from dlx.data import augmentation, expect
from dlx.data import images as image_data
from dlx.experiment import Data, Loss, Task
from dlx.layers import linear
from dlx.metrics import representations
from dlx.reports import figures
from dlx.training import finetuning

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "identity": lambda x: x}


def load(config, assets=None) -> Data:
  """uint8 images with labels; their shape, the class names, and the mean training image."""
  splits = image_data.from_options(config.data)
  images = splits.train.images
  mean = np.float32(images.mean(0).ravel() / 255)
  known = {"classes": list(splits.train.classes), "shape": list(images.shape[1:]), "mean": mean}
  pretrained = config.init_from and (lambda: dlx.load_run(config.init_from).variables)
  return Data(*(split.arrays for split in splits), assets=assets or known, pretrained=pretrained)


def init(rng, sizes, *, tied: bool, bias: bool) -> dict:
  """Layers of sizes (D, ..., k): an encoder (d_in, d_out) and a decoder (d_out, d_in) each."""
  params = {}
  for i, (d_in, d_out) in enumerate(zip(sizes, sizes[1:])):
    rngs = jax.random.split(jax.random.fold_in(rng, i))
    decoder = linear.init(rngs[1], d_out, d_in, bias=bias)
    params[f"layer{i}"] = {
        "encoder": linear.init(rngs[0], d_in, d_out, bias=bias),
        "decoder": {k: v for k, v in decoder.items() if not (tied and k == "kernel")},
    }
  return params


def encode(layers, x, activation: str):
  """The codes, (..., k), of x, (..., D)."""
  for layer in layers:
    x = ACTIVATIONS[activation](linear.apply(layer["encoder"], x))
  return x


def decode(layers, h, activation: str):
  """The pre-activations a of the reconstructions s(a), (..., D), of codes, (..., k)."""
  for i, layer in enumerate(reversed(layers)):
    params = {"kernel": layer["encoder"]["kernel"].T, **layer["decoder"]}
    h = linear.apply(params, ACTIVATIONS[activation](h) if i else h)
  return h


def distance(x, a, activation: str):
  """-sum_i x_i log s(a_i) + (1 - x_i) log(1 - s(a_i)), or ||x - a||^2 for the identity."""
  if activation == "sigmoid":
    return optax.sigmoid_binary_cross_entropy(a, x).sum(-1)
  return jnp.square(x - a).sum(-1)


def draw(rng, h, kind: str, std: float = 0.0):
  """Codes z ~ N(h, std^2) or Bernoulli(h), with dz/dh = 1: exact for Gaussian noise, and the
  straight-through estimate of Bengio, Leonard and Courville (2013) for Bernoulli codes."""
  if kind == "gaussian":
    return h + std * jax.random.normal(rng, h.shape, h.dtype)
  if kind == "bernoulli":
    return h + jax.lax.stop_gradient(jax.random.bernoulli(rng, h).astype(h.dtype) - h)
  return h


def rate_divergence(h, rate: float):
  """sum_j KL(Bernoulli(rate) || Bernoulli(mean of h_j over the batch)), a scalar."""
  mean = h.mean(0)
  return (rel_entr(rate, mean) + rel_entr(1 - rate, 1 - mean)).sum()


def jacobian_norm(function, x):
  """||d function / dx||_F^2 of each row of x, (B,), by automatic differentiation."""
  return jnp.square(jax.vmap(jax.jacrev(function))(x)).sum((-2, -1))  # Codes are smaller than x.


def sigmoid_jacobian_norm(kernel, h):
  """`jacobian_norm` of h = sigmoid(x W + b): sum_j (h_j (1 - h_j))^2 sum_i W_ij^2, (B,)."""
  return jnp.square(h * (1 - h)) @ jnp.square(kernel).sum(0)


def penalty(kind: str, layers, x, h, activation: str, rate: float = 0.0):
  """The penalty of codes h of inputs x: (B,), or a scalar if it depends on the batch's mean."""
  if kind in ("none", "l1"):
    return jnp.abs(h).sum(-1) if kind == "l1" else 0.0
  if kind == "kl":
    return rate_divergence(h, rate)
  if len(layers) == 1 and activation == "sigmoid":
    return sigmoid_jacobian_norm(layers[0]["encoder"]["kernel"], h)
  return jacobian_norm(lambda x: encode(layers, x, activation), x)


def make(config, assets) -> Task:
  """The layers that config.model describes, and their loss."""
  options, classes = config.model, expect.names("classes", assets["classes"])
  shape = expect.image_shape("shape", assets["shape"])
  activation, is_linear = options.activation, options.activation == "identity"
  sizes = [int(np.prod(shape)), *map(int, options.sizes.split("-"))]
  depth, last = len(sizes) - 1, f"layer{len(sizes) - 2}"
  mean = expect.array("mean", assets["mean"], sizes[:1])
  offset = mean if is_linear else 0 * mean
  num_frozen = depth - 1 if config.trainable == "last_layer" else 0

  def init_fn(rng, data):
    params = init(rng, sizes, tied=options.tied, bias=not is_linear)
    if data.pretrained is not None:
      old = data.pretrained["params"]
      params = finetuning.load_pretrained(params, old, config.init_from, new_params=last)
    return {"params": params}

  def layers_of(variables, first=0, end=depth):
    return [variables["params"][f"layer{i}"] for i in range(first, end)]

  def pixels(batch):
    return batch["images"].reshape(len(batch["images"]), -1) / 255 - offset

  def objective(variables, batch, rng):
    """The loss of each image, (B,); with frozen layers that of the last one on its input."""
    corruption_rng, code_rng = jax.random.split(rng)
    frozen, layers = layers_of(variables, 0, num_frozen), layers_of(variables, num_frozen)
    x = encode(frozen, pixels(batch), activation)
    noisy = augmentation.corrupt(corruption_rng, x, **config.corruption)
    h = encode(layers, noisy, activation)
    z = draw(code_rng, h, options.code, options.get("code_std"))
    error = distance(x, decode(layers, z, activation), activation)
    weight, rate = config.penalty.get("weight", 0.0), config.penalty.get("rate")
    return error + weight * penalty(config.penalty.kind, layers, noisy, h, activation, rate)

  def codes(variables, batch, rng=None):
    return encode(layers_of(variables), pixels(batch), activation)

  def reconstructions(variables, batch, rng=None):
    a = decode(layers_of(variables), codes(variables, batch), activation)
    return ACTIVATIONS[activation](a) + offset

  def eval_fn(variables, batch, rng):
    error = jnp.square(reconstructions(variables, batch) - offset - pixels(batch)).sum(-1)
    size = jnp.abs(codes(variables, batch)).mean(-1)
    return {"loss": objective(variables, batch, rng), "error": error, "activation": size}

  def measure_fn(variables, data, split, apply):
    splits = data.train, data.split(split)
    labels = [examples["labels"] for examples in splits]
    x = [np.float32(pixels(examples) + offset - mean) for examples in splits]
    z = [apply(codes, examples) for examples in splits]
    basis = decode(layers_of(variables), np.eye(sizes[-1]), activation).T if is_linear else None
    return representations.compare_with_pca(z, x, labels, basis)

  def plot(variables, data, split, apply):
    examples = data.split(split)
    x, y = examples["images"][:36], apply(reconstructions, examples)[:36]
    drawn = {f"reconstructions_{split}": figures.reconstructions(x, y.reshape(x.shape))}
    if sizes[-1] == 2:
      drawn[f"codes_{split}"] = figures.scatter(apply(codes, examples), examples["labels"], classes)
    kernel = np.asarray(variables["params"]["layer0"]["encoder"]["kernel"])[:, :96]
    return {**drawn, "filters": figures.filters(kernel.reshape(*shape, -1))}

  return Task(
      init_fn, lambda *args: Loss(objective(*args).mean()), eval_fn,
      is_trained=(lambda name: name.startswith(f"{last}.")) if num_frozen else None,
      measure_fn=measure_fn, plot=plot, outputs_fn=codes,
      unit="squared error per image" if is_linear else "nats per image",
  )  # fmt: skip

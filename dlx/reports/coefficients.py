"""The weights of a linear model: as bars, or as images where the inputs are images."""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np

from dlx.reports import figures


def bars(kernel: np.ndarray, features: Sequence[str], outputs: Sequence[str]) -> Figure:
  """A bar for each weight; of many features, those with the largest weights.

  Args:
    kernel: (D, K).
    features: D names.
    outputs: K names; at most the first 10 are drawn.
  """
  kernel, outputs = np.asarray(kernel)[:, :10], outputs[:10]
  largest = np.argsort(-np.abs(kernel).max(1), kind="stable")[:30]
  chosen = np.sort(largest)[::-1]  # In their order from the top.
  result = figures.figure(6, 1.2 + (0.2 + 0.05 * kernel.shape[1]) * len(chosen))
  axes = result.subplots()
  height = 0.8 / kernel.shape[1]
  rows = np.arange(len(chosen))
  handles = [
      axes.barh(rows + 0.4 - height * (k + 0.5), kernel[chosen, k], height, color=f"C{k}")
      for k in range(kernel.shape[1])
  ]
  if len(outputs) > 1:
    figures.legend(axes, outputs, handles, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
  axes.axvline(0, color="0.5", linewidth=0.8)
  zeros = int((kernel == 0).sum())
  axes.set_title(f"{zeros} of {kernel.size} weights are zero", fontsize=10)
  axes.set_yticks(rows, [features[i] for i in chosen], fontsize=8, parse_math=False)
  axes.set_xlabel("weight")
  axes.spines[["top", "right"]].set_visible(False)
  result.set_layout_engine("tight")
  return result


def images(kernel: np.ndarray, shape: Sequence[int], outputs: Sequence[str]) -> Figure:
  """The weights of each output as an image: white is positive, black negative, gray zero.

  Args:
    kernel: (D, K), D = H W C.
    shape: [H, W, C], C = 1 or 3.
    outputs: K names.
  """
  kernel = np.asarray(kernel)
  shown = 0.5 + 0.5 * kernel / np.maximum(np.abs(kernel).max(0), 1e-12)
  pictures = list(shown.T.reshape(-1, *shape))
  return figures.image_grid(pictures, columns=5, titles=outputs, side=1.3)

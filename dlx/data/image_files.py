"""One image file as an array of bytes."""

from collections.abc import Iterator
import contextlib
import pathlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dlx import paths
from dlx.data import files
from dlx.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
# A picture is lost on white if its luminance is less than this below white's, in the mean.
_CONTRAST = 32


def read(path: str | pathlib.Path, size: int, *, channels: int = 3) -> np.ndarray:
  """One image file, upright, scaled to cover a square and cropped at the centre.

  The image is turned as its EXIF orientation says. Where it is transparent the ground is white,
  since most drawings on nothing are dark; it is black if the opaque part would be lost on white
  (a white logo). Values of 16 bits are divided by 256. Integers of 32 bits and floats are
  scaled from the least range that holds them: 0 .. 1 (floats), 0 .. 255, 0 .. 65535 (integers),
  else from their minimum to their maximum.

  Args:
    path: an image file; the first image of an animation.
    size: H = W.
    channels: 3 for RGB, 1 for gray.

  Returns:
    uint8 (size, size, channels).

  Raises:
    UserError: the file is missing, truncated, or not an image.
  """
  if channels not in (1, 3):
    raise ValueError(f"channels: expected 1 or 3, got {channels}")
  with _opened(path) as image:
    image = _on_ground(_eight_bits(_upright(image)))
    image = image.convert("L" if channels == 1 else "RGB")
    scale = size / min(image.size)
    width, height = (max(size, round(scale * n)) for n in image.size)
    if (width, height) != image.size:
      image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)))
  return pixels.reshape(size, size, channels)


def is_gray(path: str | pathlib.Path) -> bool:
  """Whether an image file has one channel, apart from transparency.

  Raises:
    UserError: the file is missing, or not an image.
  """
  with _opened(path) as image:
    return image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")


@contextlib.contextmanager
def _opened(path) -> Iterator[Image.Image]:
  """An open image; whatever Pillow raises in the block becomes a UserError."""
  try:
    path = paths.expand(path)
    files.check_regular(path)
    with Image.open(path) as image:
      yield image
  except FileNotFoundError:
    raise UserError(f"{path} does not exist; name an image file") from None
  except (UnidentifiedImageError, IsADirectoryError):
    raise UserError(f"{path} is not an image ({', '.join(SUFFIXES)})") from None
  except UserError:
    raise
  except Exception as e:  # A broken file leads Pillow's decoders to errors of any type.
    raise UserError(f"{path} cannot be read as an image: {e}") from None


def _upright(image: Image.Image) -> Image.Image:
  image.load()
  try:
    return ImageOps.exif_transpose(image)
  except Exception:  # The EXIF block is broken; the image itself is complete.
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
  """Gray images of more bits in 8, which Pillow would clip at 255."""
  if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
    return image
  values = np.asarray(image).astype(np.float64)
  finite = values[np.isfinite(values)]
  least, largest = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
  values = np.nan_to_num(values, nan=least, posinf=largest, neginf=least)
  low, high = 0.0, 65535.0
  if image.mode in ("I", "F"):
    ranges = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
    fitting = [high for high in ranges if 0 <= least and largest <= high]
    low, high = (0.0, fitting[0]) if fitting else (least, largest)
  if high == 65535:
    scaled = values // 256
  else:
    scaled = np.rint((values - low) * (255 / max(high - low, 1e-300)))
  gray = Image.fromarray(scaled.astype(np.uint8))
  transparent = image.info.get("transparency")
  if transparent is not None:  # One of the 16-bit values.
    gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
  return gray


def _on_ground(image: Image.Image) -> Image.Image:
  """An image without transparency: see `read`. Transparent pixels have colours of their own."""
  if not image.has_transparency_data:
    return image
  image = image.convert("RGBA")
  alpha = np.asarray(image.getchannel("A"), np.float64)
  luminance = np.asarray(image.convert("RGB").convert("L"), np.float64)
  lost = (alpha * (255 - luminance)).sum() < _CONTRAST * alpha.sum()
  ground = Image.new("RGBA", image.size, "black" if lost else "white")
  return Image.alpha_composite(ground, image).convert("RGB")

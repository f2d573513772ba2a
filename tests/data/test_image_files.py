"""Image files as cameras, browsers and scanners write them."""

import numpy as np
from PIL import Image
import pytest

from dlx.data import image_files
from dlx.errors import UserError


def quarter(size=32):
  """A blue image with a red quarter at the top left."""
  pixels = np.zeros((size, size, 3), np.uint8)
  pixels[..., 2] = 255
  pixels[: size // 2, : size // 2] = (255, 0, 0)
  return pixels


# EXIF orientation: what brings the stored pixels into the upright position, of the standard.
UPRIGHT = {
    1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud,
    5: lambda x: x.transpose(1, 0, 2), 6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x.transpose(1, 0, 2), 2), 8: np.rot90,
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_the_exif_orientation_is_applied(tmp_path, suffix):
  for orientation, upright in UPRIGHT.items():
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(quarter()).save(tmp_path / f"x.{suffix}", exif=exif, lossless=True)
    found = image_files.read(tmp_path / f"x.{suffix}", 32)
    np.testing.assert_allclose(found[::31, ::31], upright(quarter())[::31, ::31], atol=5)


def test_a_wide_image_that_is_turned_is_cropped_at_the_centre(tmp_path):
  pixels = np.zeros((10, 40, 3), np.uint8)
  pixels[:, 15:25] = 200
  exif = Image.Exif()
  exif[0x112] = 6
  Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
  np.testing.assert_array_equal(image_files.read(tmp_path / "x.png", 10), 200)


def test_a_broken_exif_block_does_not_cost_the_image(tmp_path):
  tiff = (b"MM\0*\0\0\0\x08\xff\xff\x01\x12", b"II*\0\xff\xff\xff\xff", b"")
  for block in (b"", b"junk", *(b"Exif\0\0" + content for content in tiff)):
    Image.fromarray(quarter()).save(tmp_path / "x.png", exif=block)
    np.testing.assert_array_equal(image_files.read(tmp_path / "x.png", 32), quarter())


def drawings(drawing, hidden):
  """A square of one gray value on nothing, by file name; `hidden` is the colour of nothing."""
  pixels = np.full((16, 16), hidden, np.uint8)
  pixels[4:12, 4:12] = drawing
  alpha = np.where(pixels == drawing, 255, 0).astype(np.uint8)
  gray, opacity = Image.fromarray(pixels), Image.fromarray(alpha)
  words = Image.fromarray(pixels.astype(np.uint16) * 256)
  palette = Image.fromarray((alpha == 255).astype(np.uint8), "P")
  palette.putpalette([hidden] * 3 + [drawing] * 3)
  return {
      "rgba.png": (Image.merge("RGBA", [gray] * 3 + [opacity]), {}),
      "la.png": (Image.merge("LA", [gray, opacity]), {}),
      "rgba.webp": (Image.merge("RGBA", [gray] * 3 + [opacity]), {"lossless": True}),
      "p.png": (palette, {"transparency": 0}),
      "p_bytes.png": (palette, {"transparency": b"\0\xff"}),
      "p.gif": (palette, {"transparency": 0}),
      "l.png": (gray, {"transparency": hidden}),
      "rgb.png": (gray.convert("RGB"), {"transparency": (hidden,) * 3}),
      "words.png": (words, {"transparency": hidden * 256}),
  }


@pytest.mark.parametrize("drawing, ground", [(0, 255), (90, 255), (200, 255), (250, 0), (255, 0)])
def test_nothing_has_no_colour_and_every_drawing_on_it_stays_visible(tmp_path, drawing, ground):
  for hidden in (1, 254):
    for name, (image, options) in drawings(drawing, hidden).items():
      image.save(tmp_path / name, **options)
      expected = np.full((16, 16), ground)
      expected[4:12, 4:12] = drawing
      for channels in (1, 3):
        found = image_files.read(tmp_path / name, 16, channels=channels)
        np.testing.assert_array_equal(found, np.stack([expected] * channels, -1), name)


def test_half_transparent_colours_are_mixed_with_white(tmp_path):
  Image.new("RGBA", (4, 4), (100, 200, 50, 102)).save(tmp_path / "x.png")
  expected = 0.4 * np.array([100, 200, 50]) + 0.6 * 255
  np.testing.assert_allclose(image_files.read(tmp_path / "x.png", 4)[0, 0], expected, atol=1)
  Image.new("RGBA", (4, 4), (100, 200, 50, 0)).save(tmp_path / "x.png")
  np.testing.assert_array_equal(image_files.read(tmp_path / "x.png", 4), 255)


RAMP = np.arange(256).reshape(16, 16)


@pytest.mark.parametrize("name, values", [
    ("x.png", (RAMP * 256 + 77).astype(np.uint16)),
    ("x.tif", (RAMP * 256 + 77).astype(np.uint16)),
    ("big_endian.tif", (RAMP * 256 + 77).astype(">u2")),
    ("x.tif", (RAMP * 256 + 77).astype(np.int32)),
    ("x.tif", RAMP.astype(np.int32)),
    ("x.tif", ((RAMP - 128) * 1_000_000).astype(np.int32)),
    ("x.tif", (RAMP / 255).astype(np.float32)),
    ("x.tif", RAMP.astype(np.float32)),
    ("x.tif", (RAMP * 1000 - 5e4).astype(np.float32)),
])  # fmt: skip
def test_more_than_8_bits_are_scaled_and_not_clipped(tmp_path, name, values):
  Image.fromarray(values).save(tmp_path / name)
  for channels in (1, 3):
    found = image_files.read(tmp_path / name, 16, channels=channels)
    np.testing.assert_array_equal(found, np.stack([RAMP] * channels, -1))
  assert image_files.is_gray(tmp_path / name)


def test_constant_and_undefined_floats_are_read(tmp_path):
  for value in (0.0, -5.0, np.nan):
    Image.fromarray(np.full((4, 4), value, np.float32)).save(tmp_path / "x.tif")
    np.testing.assert_array_equal(image_files.read(tmp_path / "x.tif", 4), 0)
  values = np.array([[np.nan, np.inf], [-np.inf, 1000], [-1000, 0]], np.float32)
  Image.fromarray(values.repeat(2, 1)[:, :3]).save(tmp_path / "x.tif")
  found = image_files.read(tmp_path / "x.tif", 3)[:, ::2, 0]
  np.testing.assert_allclose(found, [[0, 255], [0, 255], [0, 127.5]], atol=0.5)


def test_the_colours_of_printing_are_read(tmp_path):
  for ink, expected in {
      (0, 0, 0, 0): (255, 255, 255), (255, 0, 0, 0): (0, 255, 255), (0, 0, 0, 255): (0, 0, 0),
      (0, 255, 255, 0): (255, 0, 0), (0, 0, 0, 128): (127, 127, 127),
  }.items():  # fmt: skip
    for name in ("x.jpg", "x.tif"):
      Image.new("CMYK", (8, 8), ink).save(tmp_path / name, quality=100)
      np.testing.assert_allclose(image_files.read(tmp_path / name, 8)[4, 4], expected, atol=3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp"])
def test_a_broken_file_gives_one_line_with_its_path(tmp_path, suffix):
  noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
  path = tmp_path / f"x.{suffix}"
  Image.fromarray(noise).save(path)
  whole = path.read_bytes()
  for content in (whole[:20], whole[: len(whole) // 2], whole[:30] + bytes(50) + whole[80:], b""):
    path.write_bytes(content)
    try:
      image_files.read(path, 8)
    except UserError as e:
      assert str(e).startswith(str(path)) and "\n" not in str(e)
      continue
    assert content not in (whole[:20], b"")

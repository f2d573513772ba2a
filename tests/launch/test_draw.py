"""launch.draw: drawings of functions of the user's own, and its lines for mistakes."""

import itertools
from xml.etree import ElementTree as xml

import pytest

from dlx.errors import UserError
from launch import draw

MODULE = """
import jax.numpy as jnp

NUMBER = 3

def layer(x, w):
  return jnp.tanh(x @ w)

def branch(x):
  return x if x > 0 else -x

def deep(x):
  for _ in range(999):
    x = jnp.sin(x)
  return x
"""
_numbers = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
  """The name of a module in a folder that Python searches."""
  name = f"drawn_module_{next(_numbers)}"
  (tmp_path / f"{name}.py").write_text(MODULE)
  (tmp_path / "broken.py").write_text("def f(:\n")
  (tmp_path / "raises.py").write_text("raise RuntimeError('not today')\n")
  (tmp_path / "script.py").write_text("import sys\nsys.exit(0)\n")
  monkeypatch.syspath_prepend(tmp_path)
  return name


def test_a_function_of_the_users_own_is_traced(module):
  drawn = draw.traced(f"{module}:layer", "2x3,3x4")
  assert [n.label for n in drawn.nodes] == [
      "x\n2 x 3", "w\n3 x 4", "dot_general\n2 x 4", "tanh\n2 x 4", "output\n2 x 4"
  ]  # fmt: skip


def test_numbers_and_integers_are_shapes_too(module):
  drawn = draw.traced("jax.numpy:take", "5x2,3:int32")
  assert drawn.nodes[-1].label == "output\n3"
  assert draw.traced("jax.nn:tanh", "scalar").nodes[0].label.endswith("scalar")


@pytest.mark.parametrize("name, shapes, message", [
    ("MODULE", "3", "expected MODULE:NAME"),
    (":layer", "3", "expected MODULE:NAME"),
    ("no_such_module:f", "3", "no_such_module cannot be imported: ModuleNotFoundError"),
    ("no_such.module:f", "3", "cannot be imported: ModuleNotFoundError"),
    ("..relative:f", "3", "cannot be imported: TypeError"),
    ("broken:f", "3", "broken cannot be imported: SyntaxError"),
    ("raises:f", "3", "raises cannot be imported: RuntimeError: not today"),
    ("script:f", "3", "script cannot be imported: SystemExit"),
    ("MODULE:deep", "3", "has 1,001 arrays and operations; a drawing has at most 1,000"),
    ("MODULE:lair", "3", "has no function 'lair'"),
    ("MODULE:NUMBER", "3", "has no function 'NUMBER'"),
    ("MODULE:layer", "2x3", "cannot be traced with --shapes=2x3: TypeError"),
    ("MODULE:layer", "2x3,4x5", "cannot be traced with --shapes=2x3,4x5: TypeError"),
    ("MODULE:branch", "scalar", "cannot be traced with --shapes=scalar: TracerBoolConversionError"),
    ("MODULE:layer", "2y3,3", "'2y3' is not a shape; expected one such as 3x4"),
    ("MODULE:layer", "", "'' is not a shape"),
    ("MODULE:layer", "2x,3", "'2x' is not a shape"),
    ("MODULE:layer", "-2,3", "'-2' is not a shape"),
    ("MODULE:layer", "2:float33,3", "'float33' in '2:float33' is not a type of numbers"),
])  # fmt: skip
def test_a_mistake_gives_one_line(module, name, shapes, message):
  with pytest.raises(UserError, match=message) as refused:
    draw.traced(name.replace("MODULE", module), shapes)
  assert "\n" not in str(refused.value)


def test_the_program_writes_a_drawing_or_nothing(programs, module, tmp_path):
  output, environment = tmp_path / "out" / "a.svg", {"PYTHONPATH": str(tmp_path)}
  output.parent.mkdir()
  done = programs("launch.draw", "--network=gru", "--steps=3", f"--output={output}")
  assert done.code == 0 and "U1: 3 uses\n" in done.out, done
  assert xml.parse(output).getroot().tag.endswith("svg")
  output.unlink()
  for flags, message in (
      ([], "name one of --network"),
      (["--network=gru", "--function=jax.nn:relu"], "name one of --network"),
      (["--network=gur"], "gur"),
      (["--network=gru", "--steps=0"], "steps"),
      (["--function=no_such_module:f", "--shapes=3"], "cannot be imported"),
      (["--network=gru", "--shapes=3"], "--shapes belongs to --function"),
      (["--function=jax.nn:relu", "--shapes=3", "--layers=2"], "--layers belongs to --network"),
      (["--function=jax.nn:relu"], "--shapes is missing"),
      (["--network=gru", f"--output={tmp_path}/out/a.png"], "ends in .svg"),
      (["--network=gru", f"--output={tmp_path}/none/a.svg"], "cannot be written"),
  ):
    done = programs("launch.draw", f"--output={output}", *flags, **environment)
    assert done.code == 2 and done.err.count("\n") == 1 and message in done.err, (flags, done)
    assert not list(output.parent.iterdir())

"""How every program starts, and how it fails."""

from collections.abc import Callable
import errno
import inspect
import logging
import sys
from typing import Any

from absl import app, flags

from dlx import cache, exits, paths
from dlx.errors import UserError
from launch.cli import configs, listing


def run(
    main: Callable[..., None],
    define_flags: Callable[[], None],
    *,
    with_config: bool = False,
    positional: bool = False,
    end: Callable[[int], None] = sys.exit,
) -> None:
  """Parses the flags, calls main, and turns every expected failure into one line.

  Args:
    main: the program.
    define_flags: defines its flags.
    with_config: it takes --config and --config.KEY; main is called with the config.
    positional: it takes arguments that are not flags; main is called with them.
    end: called with the exit code.

  Exit codes: 0 for success; 2 for bad input; 1 for a run that diverged or lost one of its
  processes; 128 + n for a run that signal n stopped after it saved; those of dlx.exits.
  """
  define_flags()
  flags.DEFINE_list(
      "experiments", [], "Packages of your own experiments, which a run's config may then name."
  )
  end(exits.code_of(lambda: _exit_code(main, with_config, positional)))


def required(name: str) -> str:
  """The value of a required flag.

  Raises:
    UserError: it is missing.
  """
  value = flags.FLAGS[name].value
  if value is None:
    raise UserError(f"--{name} is missing")
  return value


def options_of(function: Callable, names: tuple[str, ...], owner: str) -> dict[str, Any]:
  """The values of the flags that were given, as keyword arguments of a function.

  Args:
    function: of a Task.
    names: of flags whose default is None.
    owner: the experiment's name, for the message.

  Raises:
    UserError: the function does not take one of them.
  """
  given = {name: flags.FLAGS[name].value for name in names}
  given = {name: value for name, value in given.items() if value is not None}
  known = inspect.signature(function).parameters
  for name in given:
    if name not in known:
      takes = ", ".join(f"--{n}" for n in names if n in known) or "none of these options"
      raise UserError(f"{owner} does not take --{name}; it takes {takes}")
  return given


def _exit_code(main: Callable[..., None], with_config: bool, positional: bool) -> int:
  app.define_help_flags()
  if any(argument in ("--help", "-help", "-h") for argument in sys.argv[1:]):
    return _help(with_config)
  if hasattr(sys.stdout, "reconfigure"):  # Text that the output's encoding lacks is escaped.
    sys.stdout.reconfigure(errors="backslashreplace")
  cache.keep_compiled()
  _quiet_loggers()
  # Imported after --help so that it answers quickly.
  from dlx import doctor
  from dlx.distributed.processes import PeerLost
  from dlx.runs import object_storage
  from dlx.training.fit import Diverged
  from dlx.training.signals import Preempted

  try:
    argv, arguments = sys.argv, []
    if with_config:
      config, argv = configs.parse(argv)
      arguments.append(config)
    rest = flags.FLAGS(argv)[1:]
    if rest and not positional:
      raise UserError(f"unexpected argument {rest[0]!r}; flags have the form --name=value")
    configs.trust(flags.FLAGS.experiments)
    main(*arguments, *rest)
  except (UserError, flags.Error) as e:
    return _fail(object_storage.with_addresses(str(e)), 2)
  except (Diverged, PeerLost) as e:
    return _fail(e, 1)
  except Preempted as e:
    return _fail(e, 128 + e.signal_number)
  except OSError as e:
    if e.errno != errno.ENAMETOOLONG:
      raise
    return _fail(paths.too_long(e.filename), 2)
  except (RuntimeError, AssertionError):  # jax fails so where JAX_PLATFORMS is wrong.
    try:
      doctor.devices()
    except UserError as e:
      return _fail(e, 2)
    raise
  return 0


def _help(with_config: bool) -> int:
  main_module = sys.modules["__main__"]  # `python -OO` removes its docstring.
  name = getattr(main_module.__spec__, "name", None)
  doc = main_module.__doc__ or f"python -m {name} [--name=value ...]\n"
  try:
    keys = listing.of(sys.argv[1:]) if with_config else ""
  except UserError as e:
    return _fail(e, 2)
  print(f"{doc}\n{flags.FLAGS.main_module_help()}\n{keys}".rstrip())
  return 0


def _quiet_loggers() -> None:
  """Orbax and gcsfs log the errors that they also raise; TFDS warns about TensorFlow.

  matplotlib warns where it has no folder for its list of fonts.
  """
  for name in ("absl", "asyncio", "gcsfs"):
    logging.getLogger(name).setLevel(logging.CRITICAL)
  for name in ("tensorflow_datasets", "matplotlib"):
    logging.getLogger(name).setLevel(logging.ERROR)


def _fail(message, code: int) -> int:
  print(" ".join(str(message).split()), file=sys.stderr)  # One line even if it has several.
  return code

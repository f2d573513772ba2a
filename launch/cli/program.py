"""What all programs share: how they start, and how they fail."""

from collections.abc import Callable
import sys

from absl import app, flags
from ml_collections import config_flags

from dlx.errors import UserError


def run(
    main: Callable[..., None],
    *,
    with_config: bool = False,
    positional: bool = False,
    end: Callable[[int], None] = sys.exit,
) -> None:
  """Parses the flags, calls main, and turns every expected failure into one line.

  Args:
    main: the program.
    with_config: it takes --config and --config.KEY.
    positional: it takes arguments that are no flags; main is called with them.
    end: called with the exit code.

  Exit codes: 0 for success; 2 for bad input; 1 for a run that diverged or lost one of its
  processes; 128 + n for a run that signal n stopped after it saved.
  """
  end(_exit_code(main, with_config, positional))


def required(name: str) -> str:
  """The value of a flag that has to be given.

  Raises:
    UserError: it was not.
  """
  value = flags.FLAGS[name].value
  if value is None:
    raise UserError(f"--{name} is missing")
  return value


def _exit_code(main: Callable[..., None], with_config: bool, positional: bool) -> int:
  app.define_help_flags()
  if with_config:
    config_flags.DEFINE_config_file("config", None, "Config file, as FILE:PRESET.")
  if any(argument in ("--help", "-help", "-h") for argument in sys.argv[1:]):
    print(f"{sys.modules['__main__'].__doc__}\n{flags.FLAGS.main_module_help()}")
    return 0
  # Imported after --help so that it answers quickly.
  from dlx.distributed.processes import ProcessLost
  from dlx.training.fit import Diverged
  from dlx.training.signals import Interrupted

  try:
    argv = sys.argv
    if with_config:
      from launch.cli import configs

      argv = configs.check_flags(argv)
    arguments = flags.FLAGS(argv)[1:]
    if arguments and not positional:
      raise UserError(f"unexpected argument {arguments[0]!r}; flags look like --name=value")
    main(*arguments)
  except (UserError, flags.Error) as e:
    return _fail(e, 2)
  except (Diverged, ProcessLost) as e:
    return _fail(e, 1)
  except Interrupted as e:
    return _fail(e, 128 + e.signal_number)
  except KeyboardInterrupt:
    return _fail("stopped", 130)
  except BrokenPipeError:  # Output piped into `head`.
    sys.stdout = None
    return 0
  return 0


def _fail(message, code: int) -> int:
  # One line even when the message has several.
  print(f"{' '.join(str(message).split())}", file=sys.stderr)
  return code

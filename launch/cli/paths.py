"""Flags that name a file or a folder."""

from absl import flags

from dlx import paths

flags.disclaim_key_flags()  # The flags belong to the module that calls `define`.


class _Parser(flags.ArgumentParser):
  syntactic_help = "a path; ~ is the home folder"

  def parse(self, argument: str) -> str:
    return paths.expand(argument)


def define(name: str, default: str | None, help_text: str) -> None:
  """Defines a flag whose value may begin with ~."""
  flags.DEFINE(_Parser(), name, default, help_text, serializer=flags.ArgumentSerializer())

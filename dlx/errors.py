"""The one exception that means: the user can mend this, and the message says how."""


class UserError(Exception):
  """A mistake in what was asked for: shown as one line, with exit code 2."""

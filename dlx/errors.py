"""The exception for mistakes that the user can correct; the message says how."""


class UserError(ValueError):
  """Invalid input: programs print it as one line and exit with code 2."""

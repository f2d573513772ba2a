"""The parts of a traced function that are themselves functions."""

_LOOPS = ("scan", "while", "cond")


def called(equation):
  """The jaxpr of a call that only groups equations (jit, custom_jvp, checkpoint); else None.

  Loops and branches are no such calls: their jaxprs run several times, or not at all.
  """
  if equation.primitive.name in _LOOPS:
    return None
  inner = equation.params.get("call_jaxpr") or equation.params.get("jaxpr")
  return getattr(inner, "jaxpr", inner)

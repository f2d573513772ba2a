"""Programs: python -m launch.train, launch.evaluate, launch.predict, ..."""

from dlx import malloc

malloc.restart()

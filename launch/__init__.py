"""Programs: python -m launch.train, launch.evaluate, launch.predict, ..."""

from dlx import cache, malloc

malloc.restart()
cache.keep_compiled()

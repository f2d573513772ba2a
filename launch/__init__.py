"""Programs: python -m launch.train, launch.evaluate, launch.predict, ..."""

from dlx import huge_pages

huge_pages.restart()

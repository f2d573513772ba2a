"""Programs: python -m launch.train, launch.evaluate, launch.sample, launch.export."""

from dlx import huge_pages

huge_pages.restart()

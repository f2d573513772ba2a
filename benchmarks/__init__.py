"""Side-by-side timings against other libraries, which get huge pages as dlx does."""

from dlx import huge_pages

huge_pages.restart()

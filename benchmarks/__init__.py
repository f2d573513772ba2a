"""Side-by-side timings against other libraries, which get memory as dlx does."""

from dlx import malloc

malloc.restart()

"""Timings of dlx and other libraries: python -m benchmarks.gradients, ..."""

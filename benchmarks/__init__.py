"""Timings of dlx beside other libraries: python -m benchmarks.gradients, ..."""

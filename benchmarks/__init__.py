"""Side-by-side timings against other libraries."""

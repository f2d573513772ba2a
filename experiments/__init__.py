"""Experiments, one folder each: config.py, experiment.py, README.md, results/."""

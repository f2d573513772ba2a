"""State, the loop, checkpoints, sharding, metrics and plots."""

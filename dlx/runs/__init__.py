"""The run directory: files, checkpoints, lock and lease, export."""

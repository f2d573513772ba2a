"""Programs that start launch.train on a cluster."""

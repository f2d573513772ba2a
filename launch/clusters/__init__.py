"""Programs that run launch.train on a cluster."""

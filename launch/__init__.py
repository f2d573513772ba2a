"""Programs: python -m launch.train, launch.evaluate, launch.sample, launch.export."""

"""Programs: python -m launch.train, launch.evaluate, launch.predict, ..."""

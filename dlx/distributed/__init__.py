"""Several processes that train one run: how they connect, and how they agree."""

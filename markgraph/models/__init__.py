"""Chat models and embedders that run on this machine, and where their weights come from."""

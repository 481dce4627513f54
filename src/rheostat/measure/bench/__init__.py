"""The laboratory: each configuration in its own process, in turn with the plain model."""

"""Model families, their cut points, attention, masks and key-value cache: the only layer that knows a family."""

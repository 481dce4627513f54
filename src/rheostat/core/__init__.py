"""Plain data and pure functions: no torch, no transformers."""

"""Runs a model on a workload and says what it cost and how good it was."""

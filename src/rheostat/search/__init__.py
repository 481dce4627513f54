"""Searching for the configuration that fits a model, a task, a machine and a budget best."""

"""Measuring on several machines at once: an evaluator over a Ray cluster."""

from rheostat.search.cluster.evaluator import ClusterEvaluator, ClusterOptions

__all__ = ["ClusterEvaluator", "ClusterOptions"]

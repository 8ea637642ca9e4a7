"""Metrics that training, evaluation and benchmarks share."""

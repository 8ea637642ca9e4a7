"""Batch features on Spark: the same build, for logs too large for one machine."""

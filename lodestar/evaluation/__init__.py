"""Evaluation of a bundle against baselines: full ranking, metrics with confidence intervals, slices, the gate, and the report."""

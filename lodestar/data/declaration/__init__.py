"""Declarations of datasets: a `dataset.toml` says how given files become the contract's tables."""

"""Describe files: infer the declaration of a dataset from names and values of a bounded sample, what is sure and what a person decides."""

"""Ensembles: weighted sums of retrievers, blend weights, the neighbours' weight, and the grid search over closed-form models."""

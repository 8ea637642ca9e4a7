"""Optimisation: losses, negative sampling, optimisers, learning rate schedule, weight EMA, CUDA graphs."""

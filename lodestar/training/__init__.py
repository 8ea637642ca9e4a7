"""Training: loop, losses and optimisers, distribution, initial weights, ranker, ensembles, and the published bundle."""

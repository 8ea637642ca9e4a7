"""Rating prediction: biases, item-based neighbours, Bayesian matrix factorisation with side information."""

"""Hyperparameter search over recipes (Optuna), on the validation set."""

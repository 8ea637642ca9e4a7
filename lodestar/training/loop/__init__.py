"""The training loop: epochs, batches, validation, early stopping, checkpoints, cost."""

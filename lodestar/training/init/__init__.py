"""Initial weights: item vectors from co-occurrence, or pretrained elsewhere."""

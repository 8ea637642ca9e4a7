"""Monitoring: target leakage and training-serving skew."""

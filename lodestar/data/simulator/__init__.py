"""Simulator of a shop: a world with known ground truth, user sessions, and their log as the contract's tables."""

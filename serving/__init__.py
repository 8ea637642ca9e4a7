"""Serving: the predictor over HTTP, feature client, impression and feature logs, event collector and canary rollout."""

"""Canary rollout of bundles: traffic shares of an InferenceService, in one of three canary modes."""

"""Release: publish a bundle with its online features as one generation, locally or in S3, and start a canary rollout."""

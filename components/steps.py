"""The pipeline's steps, in the order in which they run."""

STEPS = ("version", "ingest", "build_features", "train", "compress", "evaluate", "gate", "publish", "deploy")

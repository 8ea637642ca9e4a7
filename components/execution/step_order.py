"""Names of the pipeline's steps, in execution order."""

STEPS = ("version", "ingest", "build_features", "train", "compress", "evaluate", "gate", "publish", "deploy")

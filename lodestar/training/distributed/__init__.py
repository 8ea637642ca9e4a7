"""Training by several workers: process group, FSDP2, sharded embeddings, heartbeat."""

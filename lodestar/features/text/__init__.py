"""Text features: hashed n-gram vectors of item text, and embeddings provided with the data."""

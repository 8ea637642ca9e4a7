"""Objects of an S3 store, their published versions, and what goes wrong with them."""

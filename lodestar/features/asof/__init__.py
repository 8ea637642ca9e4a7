"""Point-in-time (as-of) join: the feature values of an entity as they were known at a timestamp."""

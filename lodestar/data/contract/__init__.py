"""The data contract: rules for values and rows, validators, row errors with their remedies, defaults, quarantine, and the ingest report."""

"""Batch features with DuckDB: feature tables, user sequences, labels and windowed counts."""

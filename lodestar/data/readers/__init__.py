"""Readers of CSV, TSV, JSON Lines and Parquet files: batches of rows, and the line number of each row."""

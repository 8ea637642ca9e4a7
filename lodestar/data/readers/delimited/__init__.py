"""Delimited text: CSV, TSV and the like."""

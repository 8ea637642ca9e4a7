"""Data: readers, data contract, tables, public data sets, simulator, and the split by time."""

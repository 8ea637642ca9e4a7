"""Public data sets: readers of their files as the contract's tables, and their downloads."""

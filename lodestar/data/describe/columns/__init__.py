"""Columns of files as columns of the contract: by name and by value, with the form of their values."""

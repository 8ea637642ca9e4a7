"""Samples of files: bounded mirrors of them, their values, and how these can be read."""

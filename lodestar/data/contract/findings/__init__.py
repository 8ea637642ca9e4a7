"""Findings on data that were read, and the problems of data that were not, each in one answer."""

"""Interactions as arrays, and their split by time into training sequences, validation cases and test cases."""

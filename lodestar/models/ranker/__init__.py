"""The ranker of candidates."""

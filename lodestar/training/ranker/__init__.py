"""Ranker: training, task weights added to retrieval scores, export."""

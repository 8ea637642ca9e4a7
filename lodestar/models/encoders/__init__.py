"""Sequence encoders: item vectors in, user vectors out; one short file per family."""

"""Compression of a trained bundle: int8 and int4 item tables, int8 encoder weights, and the choice among them on the validation set."""

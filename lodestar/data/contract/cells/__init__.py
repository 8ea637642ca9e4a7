"""Cells of a column: traits of its texts, forms of its times, and SQL of the normal form of ids."""

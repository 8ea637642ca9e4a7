"""Variants of a trained bundle at lower precisions of item table and encoder."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lodestar.bundle import bundle
from lodestar.bundle.bundle import Bundle
from lodestar.bundle.item_table import Precision, quantise
from lodestar.compression.encoder_quantisation import with_int8_weights
from lodestar.errors import UsageError

# Precisions of item table and encoder weights; the first is the reference of all comparisons.
COMBINATIONS: tuple[tuple[Precision, Precision], ...] = (("fp32", "fp32"), ("int8", "fp32"), ("int8", "int8"), ("int4", "int8"))


def build(uncompressed: Bundle, folder: Path) -> list[Bundle]:
    """Write every combination of precisions into a folder of its own and load it as serving does; UsageError if already compressed."""
    if (uncompressed.info.precision, uncompressed.info.encoder_precision) != COMBINATIONS[0]:
        raise UsageError(f"{uncompressed.root} is compressed already (table {uncompressed.info.precision}): name the uncompressed bundle")
    return [_build(uncompressed, folder, *precisions) for precisions in COMBINATIONS]


def _build(uncompressed: Bundle, folder: Path, table_precision: Precision, encoder_precision: Precision) -> Bundle:
    root = folder / f"table-{table_precision}-encoder-{encoder_precision}"
    root.mkdir()
    encoder = uncompressed.encoder if encoder_precision == "fp32" else with_int8_weights(uncompressed.encoder)
    vectors = uncompressed.table.vectors(np.arange(len(uncompressed.table)))
    info = replace(uncompressed.info, precision=table_precision, encoder_precision=encoder_precision)
    table, optional_parts = quantise(vectors, table_precision), (uncompressed.neighbours, uncompressed.ranker, uncompressed.ratings)
    bundle.write(root, info, encoder, table, uncompressed.items, uncompressed.popularity, *optional_parts)
    return bundle.load(root)

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
        raise UsageError(
            f"{uncompressed.root} is compressed already (table {uncompressed.info.precision}): name the uncompressed bundle", code="E193"
        )
    return [_build(uncompressed, folder / f"table-{table}-encoder-{encoder}", table, encoder) for table, encoder in COMBINATIONS]


def _build(uncompressed: Bundle, folder: Path, precision: Precision, encoder_precision: Precision) -> Bundle:
    folder.mkdir()
    encoder = uncompressed.graph if encoder_precision == "fp32" else with_int8_weights(uncompressed.graph)
    vectors = uncompressed.table.vectors(np.arange(len(uncompressed.table)))
    info = replace(uncompressed.info, precision=precision, encoder_precision=encoder_precision)
    table, optional_parts = quantise(vectors, precision), (uncompressed.neighbours, uncompressed.ranker, uncompressed.ratings)
    bundle.write(folder, info, encoder, table, uncompressed.items, uncompressed.popularity, *optional_parts)
    return bundle.load(folder)

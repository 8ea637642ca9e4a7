"""The bundles to choose from: the trained one, and what is left of it at lower precisions."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lodestar import bundle
from lodestar.bundle import Bundle
from lodestar.compression.encoder import with_int8_weights
from lodestar.errors import UsageError
from lodestar.item_table import Precision, quantise

# Of the item table and of the encoder's weights; the first is the one that all others are held against.
COMBINATIONS: tuple[tuple[Precision, Precision], ...] = (("fp32", "fp32"), ("int8", "fp32"), ("int8", "int8"), ("int4", "int8"))


def build(trained: Bundle, folder: Path) -> list[Bundle]:
    """Write every combination into a folder of its own and load it as serving would; UsageError where `trained` is compressed already."""
    if (trained.info.precision, trained.info.encoder_precision) != COMBINATIONS[0]:
        raise UsageError(f"{trained.root} is compressed already (table {trained.info.precision}): give the bundle that was trained")
    return [_build(trained, folder / f"table-{table}-encoder-{encoder}", table, encoder) for table, encoder in COMBINATIONS]


def _build(trained: Bundle, folder: Path, precision: Precision, encoder_precision: Precision) -> Bundle:
    folder.mkdir()
    encoder = trained.graph if encoder_precision == "fp32" else with_int8_weights(trained.graph)
    vectors = trained.table.vectors(np.arange(len(trained.table)))
    info = replace(trained.info, precision=precision, encoder_precision=encoder_precision)
    table, beside = quantise(vectors, precision), (trained.neighbours, trained.ranker, trained.ratings)
    bundle.write(folder, info, encoder, table, trained.items, trained.popularity, *beside)
    return bundle.load(folder)

"""Initialise item vectors from pretrained ones: a Parquet file of item ids and vectors, in the format of the features' embedding views."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lodestar import schema
from lodestar.errors import DataError, Location
from lodestar.io import storage
from lodestar.progress import log_event
from lodestar.training.init.item_init import SpectralBasis, fix_signs


def load_item_vectors(address: str, items: list[str]) -> SpectralBasis:
    """Principal components of the pretrained vectors at a path or `s3://`, centred; items without a vector are at the mean.

    DataError E155 if there is no such file, no column of ids or of vectors, vectors of different lengths, or none of these items; E202
    for a number that is not finite.
    """
    ids, vectors = _read(address)
    row = dict(zip(ids, range(len(ids)), strict=True))
    known = [index for index, item in enumerate(items) if item in row]
    if not known:
        raise _bad_file_error(address, f"it has vectors of none of the {len(items)} items")
    log_event("pretrained", items=len(items), known_items=len(known))
    known_vectors = vectors[[row[items[index]] for index in known]]
    centred = np.zeros((len(items), vectors.shape[1]))
    centred[known] = known_vectors - known_vectors.mean(axis=0)
    eigenvalues, axes = np.linalg.eigh(centred.T @ centred)
    eigenvalues = eigenvalues.clip(0)
    return SpectralBasis(columns=fix_signs(centred @ axes / np.sqrt(eigenvalues).clip(1e-12)), strength=eigenvalues)


def _read(address: str) -> tuple[list[str], NDArray[np.float64]]:
    """Read item ids and their vectors, float64 [ids, dim]."""
    content = storage.get(address)
    if content is None:
        raise _bad_file_error(address, "there is no such file")
    try:
        table = pq.read_table(io.BytesIO(content))
    except pa.ArrowException as error:
        raise _bad_file_error(address, f"it is not a Parquet file ({error})") from error
    vector_columns = [field.name for field in table.schema if _is_vector(field.type)]
    if schema.ITEM_ID not in table.column_names or len(vector_columns) != 1:
        raise _bad_file_error(address, f"it has the columns {', '.join(table.column_names)}")
    vectors = table[vector_columns[0]].combine_chunks()
    lengths = set(pc.list_value_length(vectors).to_pylist())
    if len(lengths) != 1 or lengths & {0, None}:
        raise _bad_file_error(address, f"its vectors have {', '.join(sorted(str(length) for length in lengths)) or 'no'} numbers")
    flat = vectors.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False).reshape(len(vectors), -1)
    not_finite = np.argwhere(~np.isfinite(flat))
    if len(not_finite):
        row, number = not_finite[0]
        location = Location(file=address, line=int(row) + 1, column=vector_columns[0], value=str(flat[row, number]))
        remedy = "Write finite numbers, or leave the item out."
        raise DataError("E202", f"number {number + 1} of the vector is not finite", remedy=remedy, place=location)
    return table[schema.ITEM_ID].cast(pa.string()).to_pylist(), flat


def _is_vector(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def _bad_file_error(address: str, message: str) -> DataError:
    remedy = f"Name a Parquet file with {schema.ITEM_ID} and one column of lists of numbers, all of one length."
    return DataError("E155", f"no pretrained vectors: {message}", remedy=remedy, place=Location(file=address))

"""Vectors that were learnt elsewhere as a beginning: a Parquet file of item ids and vectors, as the features' embedding views are."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lodestar import schema, storage
from lodestar.errors import DataError, Place
from lodestar.progress import log_event
from lodestar.training.start import Directions, signed


def directions(address: str, items: list[str]) -> Directions:
    """The main directions of the vectors at a path or `s3://`, about their mean; items without one lie there.

    DataError E155 where there is no such file, no column of ids or of vectors, vectors of several lengths, or none of these items; E107
    where a vector holds no finite number.
    """
    names, vectors = _read(address)
    row = dict(zip(names, range(len(names)), strict=True))
    known = [place for place, item in enumerate(items) if item in row]
    if not known:
        raise _unfit(address, f"it has vectors of none of the {len(items)} items")
    log_event("pretrained", items=len(items), known_items=len(known))
    own = vectors[[row[items[place]] for place in known]]
    spread = np.zeros((len(items), vectors.shape[1]))
    spread[known] = own - own.mean(axis=0)
    power, axes = np.linalg.eigh(spread.T @ spread)
    power = power.clip(0)
    return Directions(columns=signed(spread @ axes / np.sqrt(power).clip(1e-12)), strength=power)


def _read(address: str) -> tuple[list[str], NDArray[np.float64]]:
    """Ids and their vectors, [ids, numbers]."""
    content = storage.get(address)
    if content is None:
        raise _unfit(address, "there is no such file")
    try:
        table = pq.read_table(io.BytesIO(content))
    except pa.ArrowException as error:
        raise _unfit(address, f"it is no Parquet file ({error})") from error
    lists = [field.name for field in table.schema if _is_vector(field.type)]
    if schema.ITEM_ID not in table.column_names or len(lists) != 1:
        raise _unfit(address, f"it has the columns {', '.join(table.column_names)}")
    vectors = table[lists[0]].combine_chunks()
    lengths = set(pc.list_value_length(vectors).to_pylist())
    if len(lengths) != 1 or lengths & {0, None}:
        raise _unfit(address, f"its vectors have {', '.join(sorted(str(length) for length in lengths)) or 'no'} numbers")
    flat = vectors.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False).reshape(len(vectors), -1)
    broken = np.argwhere(~np.isfinite(flat))
    if len(broken):
        row, number = broken[0]
        place = Place(file=address, line=int(row) + 1, column=lists[0], value=str(flat[row, number]))
        raise DataError("E107", f"number {number + 1} of the vector is not finite", remedy="Make the vectors again.", place=place)
    return table[schema.ITEM_ID].cast(pa.string()).to_pylist(), flat


def _is_vector(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def _unfit(address: str, message: str) -> DataError:
    remedy = f"Name a Parquet file with {schema.ITEM_ID} and one column of lists of numbers, all of one length."
    return DataError("E155", f"no vectors to begin from: {message}", remedy=remedy, place=Place(file=address))

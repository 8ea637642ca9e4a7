"""Validation of a bundle's parts: types, shapes, finite values, and consistency with one another.

Every fault raises DataError E182 with the file, the reason and the value; ONNX graphs raise E183.
"""

import math
from collections.abc import Callable, Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.bundle import feature_needs, onnx_graph
from lodestar.bundle.item_table import PRECISIONS
from lodestar.bundle.neighbours import MAX_CODE
from lodestar.bundle.onnx_graph import BOOL, FLOAT, FREE, Value
from lodestar.bundle.ranker import CANDIDATES, COUNTS, HISTORY, MASK, SCORES
from lodestar.bundle.training_record import is_record
from lodestar.errors import DataError, Location
from lodestar.io.atomic_publish import DIGEST
from lodestar.io.npz import Arrays, Kinds
from lodestar.process.safe_text import shorten
from lodestar.schema import feedback
from lodestar.schema.arrays import Num, Shaped

if TYPE_CHECKING:
    from lodestar.bundle.catalogue import Catalogue
    from lodestar.bundle.item_table import ItemTable
    from lodestar.bundle.neighbours import NeighbourTable
    from lodestar.bundle.ranker import Ranker
    from lodestar.bundle.ratings import Ratings

REMEDY = "Publish the bundle again, from the run that made it."
USER = "user"
MAX_TEXT, MAX_CANDIDATES = 1_024, 10_000
MAX_ABS_VALUE = 1e15  # of vectors and neighbour sums: their products and squares stay far below float32's 3.4e38
MAX_CODES = {"fp32": 1, "int8": 128, "int4": 8}


def require(holds: Any, file: Path, message: str) -> None:
    """Raise DataError E182 about a file unless a condition holds."""
    if not holds:
        raise _invalid(file, message)


def _invalid(file: Path, message: str) -> DataError:
    return DataError("E182", message, remedy=REMEDY, place=Location(file=str(file)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_feedback(value: Any) -> bool:
    try:
        feedback.from_json(value)
    except (TypeError, ValueError, AttributeError):
        return False
    return True


def _is_list_of_features(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and _is_text(one.get("view")) and _is_text(one.get("name")) for one in value
    )


_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "family": _is_text,
    "recipe": _is_text,
    "dim": _is_count,
    "max_length": lambda value: _is_count(value) and value <= schema.MAX_HISTORY,
    "num_items": _is_count,
    "precision": lambda value: value in PRECISIONS,
    "encoder_precision": lambda value: value in PRECISIONS,
    "features": _is_text,
    "metrics": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    "use_time_gaps": lambda value: isinstance(value, bool),
    "feedback": _is_feedback,
    "reads_filters": lambda value: isinstance(value, bool),
    "training": is_record,
    "schema_hash": _is_text,
    "inputs": lambda value: (
        isinstance(value, dict)
        and value.keys() == {feature_needs.HISTORY, feature_needs.COUNTS}
        and all(map(_is_list_of_features, value.values()))
    ),
    "files": lambda value: (
        isinstance(value, dict) and all(isinstance(digest, str) and DIGEST.fullmatch(digest) for digest in value.values())
    ),
}


def check_info(file: Path, values: Mapping[str, Any]) -> None:
    """Validate bundle.json: all fields present, none unknown, each of its type and within its bounds."""
    for name in sorted(_FIELDS.keys() | values.keys()):
        require(name in _FIELDS, file, f"unknown field {shorten(name)!r}")
        require(name in values, file, f"the field {name} is missing")
        require(_FIELDS[name](values[name]), file, f"{name} cannot be {shorten(repr(values[name]))}")


def check_arrays(file: Path, arrays: Arrays, kinds: Kinds) -> None:
    """Validate that arrays are present with their dtype kind and shape; arrays of a fixed shape must also be finite."""
    for name, (kind, shape) in kinds.items():
        require(name in arrays, file, f"the array {name} is missing")
        values = arrays[name]
        is_shaped = values.ndim == len(shape) and all(wanted in {None, length} for wanted, length in zip(shape, values.shape, strict=True))
        require(values.dtype.kind in kind and is_shaped, file, f"the array {name} is {values.dtype} of shape {list(values.shape)[:8]}")
        if None not in shape:
            check_finite(file, name, values)


def check_finite(file: Path, name: str, values: Num[NDArray[Any], "*shape"]) -> None:
    """Validate that an array has no NaN and no infinity."""
    if not np.isfinite(values).all():
        index = np.argwhere(~np.isfinite(values))[0].tolist()
        raise _invalid(file, f"{name} holds {values[tuple(index)]} at {index}")


def check_bounds(file: Path, name: str, values: Num[NDArray[Any], "*shape"], times: float = 1) -> None:
    """Validate that an array is finite and that `times` its largest absolute value is at most `MAX_ABS_VALUE`."""
    check_finite(file, name, values)
    largest = float(max(values.max(initial=0), -values.min(initial=0))) * times
    require(largest <= MAX_ABS_VALUE, file, f"{name} reaches {largest:.3g}, above {MAX_ABS_VALUE:.0e}: scores could overflow")


def check_shape(file: Path, name: str, values: Shaped[NDArray[Any], "*any_shape"], shape: tuple[int, ...]) -> None:
    """Validate the shape of an array."""
    require(values.shape == shape, file, f"{name} has the shape {list(values.shape)}, and {list(shape)} is needed")


def check_items(file: Path, catalogue: "Catalogue", num_items: int) -> None:
    """Validate the catalogue: `num_items` entries in every list, ids unique and of valid length."""
    require(len(catalogue.ids) == num_items, file, f"it has {len(catalogue.ids):,} items, and bundle.json says {num_items:,}")
    lists: dict[str, Sized] = {
        "titles": catalogue.titles,
        "categories": catalogue.categories,
        "is_active": catalogue.is_active,
        "categories_and_tags": catalogue.categories_and_tags or catalogue.ids,
    }
    for name, values in lists.items():
        require(len(values) == num_items, file, f"it has {len(values):,} {name} of {num_items:,} items")
    seen: set[str] = set()
    for item in catalogue.ids:
        require(item and len(item.encode()) <= schema.MAX_ID_BYTES, file, f"{shorten(item)!r} is no item id")
        require(item not in seen, file, f"two items have the id {shorten(item)!r}")
        seen.add(item)


def check_table(file: Path, table: "ItemTable", dim: int, num_items: int) -> None:
    """Validate the item table: a row per item, with the dtype and width of its precision."""
    require(table.dim == dim, file, f"its vectors have {table.dim} numbers, and bundle.json says {dim}")
    width, kind = {"fp32": (dim, np.float32), "int8": (dim, np.int8), "int4": ((dim + 1) // 2, np.uint8)}[table.precision]
    require(table.codes.dtype == kind, file, f"its rows are {table.codes.dtype}, and {np.dtype(kind)} is needed for {table.precision}")
    check_shape(file, "codes", table.codes, (num_items, width))
    check_shape(file, "scale", table.scale, (num_items,))
    check_bounds(file, "scale", table.scale, MAX_CODES[table.precision])
    if table.precision == "fp32":
        check_bounds(file, "codes", table.codes)


def check_neighbours(file: Path, neighbours: "NeighbourTable", num_items: int) -> None:
    """Validate the neighbour table: indices within the catalogue, similarities of the same shape, weights within bounds."""
    require(
        neighbours.item.ndim == 2 and len(neighbours.item) == num_items,
        file,
        f"it has {len(neighbours.item):,} rows of {num_items:,} items",
    )
    check_shape(file, "similarity", neighbours.similarity, neighbours.item.shape)
    check_shape(file, "similarity_scale", neighbours.scale, (num_items,))
    check_bounds(file, "similarity_scale", neighbours.scale, MAX_CODE * max(1, neighbours.item.shape[1]))
    largest = int(neighbours.item.max(initial=0))
    require(largest < num_items, file, f"it refers to item {largest:,} of {num_items:,}")
    for name, value, most in (("weight", neighbours.weight, MAX_ABS_VALUE), ("decay", neighbours.decay, 1)):
        require(0 <= value <= most, file, f"{name} cannot be {value}")
    require(0 <= neighbours.recent <= schema.MAX_HISTORY, file, f"recent cannot be {neighbours.recent}")


def check_ranker(files: tuple[Path, Path], ranker: "Ranker", num_items: int) -> None:
    """Validate the ranker: an ONNX graph with inputs for its item rows and count features, and a row per item."""
    graph, rows = files
    require(
        ranker.vectors.ndim == 2 and len(ranker.vectors) == num_items, rows, f"it has {len(ranker.vectors):,} rows of {num_items:,} items"
    )
    check_bounds(rows, "vectors", ranker.vectors)
    require(1 <= ranker.candidates <= MAX_CANDIDATES, rows, f"candidates cannot be {ranker.candidates}")
    require(1 <= ranker.max_length <= schema.MAX_HISTORY, rows, f"max_length cannot be {ranker.max_length}")
    width = ranker.vectors.shape[1]
    widths = {HISTORY: width, CANDIDATES: width, COUNTS: len(ranker.count_names)}
    inputs = {name: Value(element=FLOAT, shape=(FREE, FREE, columns)) for name, columns in widths.items()}
    inputs[MASK] = Value(element=BOOL, shape=(FREE, FREE))
    onnx_graph.check(str(graph), ranker.graph, inputs, {SCORES: Value(element=FLOAT, shape=(FREE, FREE))})


def check_encoder(file: Path, graph: bytes, dim: int, *, use_time_gaps: bool) -> None:
    """Validate the encoder: an ONNX graph from item vectors (and time gaps) to user vectors of width `dim`."""
    inputs = {HISTORY: Value(element=FLOAT, shape=(FREE, FREE, dim + use_time_gaps)), MASK: Value(element=BOOL, shape=(FREE, FREE))}
    onnx_graph.check(str(file), graph, inputs, {USER: Value(element=FLOAT, shape=(FREE, dim))})


def check_ratings(file: Path, ratings: "Ratings", num_items: int) -> None:
    """Validate the rating model: user keys ascending, a bias and a vector of one width per user and per item, a valid scale."""
    require(len(ratings.keys) and (ratings.keys[1:] >= ratings.keys[:-1]).all(), file, "its users are not in the order of their keys")
    width = ratings.item_vectors.shape[1]
    parts: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
        "user_vectors": (ratings.user_vectors, (len(ratings.keys), width)),
        "item_vectors": (ratings.item_vectors, (num_items, width)),
        "user_bias": (ratings.user_bias, (len(ratings.keys),)),
        "item_bias": (ratings.item_bias, (num_items,)),
    }
    for name, (values, shape) in parts.items():
        check_shape(file, name, values, shape)
        check_finite(file, name, values)
    is_scale = all(map(math.isfinite, (ratings.global_mean, ratings.lowest, ratings.highest))) and ratings.lowest <= ratings.highest
    require(is_scale, file, f"its scale cannot be {ratings.global_mean}, from {ratings.lowest} to {ratings.highest}")

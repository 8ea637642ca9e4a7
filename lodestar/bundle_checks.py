"""Whether the parts of a bundle are what they should be, and fit one another: every number finite, every row one of an item.

All faults are DataError E182, with the file, what is wrong and the value.
"""

import math
import re
from collections.abc import Callable, Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lodestar import onnx_graph, schema
from lodestar.arrays import Arrays, Kinds
from lodestar.errors import DataError, Place, shorten
from lodestar.item_table import PRECISIONS
from lodestar.neighbours import STEPS
from lodestar.onnx_graph import BOOL, FLOAT, FREE, Value
from lodestar.ranker import CANDIDATES, COUNTS, HISTORY, MASK, WORTH
from lodestar.schema import needs

if TYPE_CHECKING:
    from lodestar.catalogue import Catalogue
    from lodestar.item_table import ItemTable
    from lodestar.neighbours import Neighbours
    from lodestar.ranker import Ranker
    from lodestar.ratings import Ratings

REMEDY = "Publish the bundle again, from the run that made it."
USER = "user"
SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_TEXT, MOST_CANDIDATES = 1_024, 10_000
LARGEST = 1e15  # of a vector's numbers, and of what neighbours add up to: products and squares of such stay far below float32's 3.4e38
LARGEST_CODES = {"fp32": 1, "int8": 128, "int4": 8}


def require(holds: Any, file: Path, message: str) -> None:
    """DataError E182 where something does not hold of a file."""
    if not holds:
        raise _wrong(file, message)


def _wrong(file: Path, message: str) -> DataError:
    """The error of a part that is not what it should be."""
    return DataError("E182", message, remedy=REMEDY, place=Place(file=str(file)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_TEXT and value.isprintable()


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_list_of_needs(value: Any) -> bool:
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
    "timed": lambda value: isinstance(value, bool),
    "schema_hash": _is_text,
    "inputs": lambda value: (
        isinstance(value, dict) and value.keys() == {needs.HISTORY, needs.COUNTS} and all(map(_is_list_of_needs, value.values()))
    ),
    "files": lambda value: (
        isinstance(value, dict) and all(isinstance(digest, str) and SHA256.fullmatch(digest) for digest in value.values())
    ),
}


def description(file: Path, values: Mapping[str, Any]) -> None:
    """Of bundle.json: every field is there, no other is, and each is of its type and within its bounds."""
    for name in sorted(_FIELDS.keys() | values.keys()):
        require(name in _FIELDS, file, f"there is no field {shorten(name)!r}")
        require(name in values, file, f"the field {name} is missing")
        require(_FIELDS[name](values[name]), file, f"{name} cannot be {shorten(repr(values[name]))}")


def arrays_of(file: Path, found: Arrays, kinds: Kinds) -> None:
    """That arrays are there, of the kind and shape that they should have; what is of one shape only is finite, too."""
    for name, (kind, shape) in kinds.items():
        require(name in found, file, f"the array {name} is missing")
        values = found[name]
        is_shaped = values.ndim == len(shape) and all(wanted in {None, length} for wanted, length in zip(shape, values.shape, strict=True))
        require(values.dtype.kind in kind and is_shaped, file, f"the array {name} is {values.dtype} of shape {list(values.shape)[:8]}")
        if None not in shape:
            finite(file, name, values)


def finite(file: Path, name: str, values: NDArray[Any]) -> None:
    """That every number is one."""
    if not np.isfinite(values).all():
        place = np.argwhere(~np.isfinite(values))[0].tolist()
        raise _wrong(file, f"{name} holds {values[tuple(place)]} at {place}")


def bounded(file: Path, name: str, values: NDArray[Any], times: float = 1) -> None:
    """That every number is one, and `times` as much of it at most `LARGEST`."""
    finite(file, name, values)
    largest = float(max(values.max(initial=0), -values.min(initial=0))) * times
    require(largest <= LARGEST, file, f"{name} reaches {largest:.3g}, and at most {LARGEST:.0e} gives scores that are numbers")


def shaped(file: Path, name: str, values: NDArray[Any], shape: tuple[int, ...]) -> None:
    """That an array has a shape."""
    require(values.shape == shape, file, f"{name} has the shape {list(values.shape)}, and {list(shape)} is needed")


def items(file: Path, found: "Catalogue", num_items: int) -> None:
    """Of the catalogue: as many as there are said to be, each with an id of its own."""
    require(len(found.ids) == num_items, file, f"it has {len(found.ids):,} items, and bundle.json says {num_items:,}")
    lists: dict[str, Sized] = {
        "titles": found.titles,
        "categories": found.categories,
        "is_active": found.is_active,
        "marks": found.marks or found.ids,
    }
    for name, values in lists.items():
        require(len(values) == num_items, file, f"it has {len(values):,} {name} of {num_items:,} items")
    seen: set[str] = set()
    for item in found.ids:
        require(item and len(item.encode()) <= schema.MAX_ID_BYTES, file, f"{shorten(item)!r} is no item's id")
        require(item not in seen, file, f"two items have the id {shorten(item)!r}")
        seen.add(item)


def table(file: Path, found: "ItemTable", dim: int, num_items: int) -> None:
    """Of the item table: a row for each item, of the type and width that its precision has."""
    require(found.dim == dim, file, f"its vectors have {found.dim} numbers, and bundle.json says {dim}")
    width, kind = {"fp32": (dim, np.float32), "int8": (dim, np.int8), "int4": ((dim + 1) // 2, np.uint8)}[found.precision]
    require(found.codes.dtype == kind, file, f"its rows are {found.codes.dtype}, and {np.dtype(kind)} is needed for {found.precision}")
    shaped(file, "codes", found.codes, (num_items, width))
    shaped(file, "scale", found.scale, (num_items,))
    bounded(file, "scale", found.scale, LARGEST_CODES[found.precision])
    if found.precision == "fp32":
        bounded(file, "codes", found.codes)


def neighbours(file: Path, found: "Neighbours", num_items: int) -> None:
    """Of neighbours: rows of items, with affinities for each."""
    require(found.item.ndim == 2 and len(found.item) == num_items, file, f"it has {len(found.item):,} rows of {num_items:,} items")
    shaped(file, "affinity", found.affinity, found.item.shape)
    shaped(file, "affinity_scale", found.scale, (num_items,))
    bounded(file, "affinity_scale", found.scale, STEPS * max(1, found.item.shape[1]))
    largest = int(found.item.max(initial=0))
    require(largest < num_items, file, f"it points to item {largest:,} of {num_items:,}")
    for name, value, most in (("weight", found.weight, LARGEST), ("decay", found.decay, 1)):
        require(0 <= value <= most, file, f"{name} cannot be {value}")
    require(0 <= found.recent <= schema.MAX_HISTORY, file, f"recent cannot be {found.recent}")


def ranker(files: tuple[Path, Path], found: "Ranker", num_items: int) -> None:
    """Of the ranker: a graph that takes its rows and the counts that the bundle names, and a row for each item."""
    graph, rows = files
    require(found.vectors.ndim == 2 and len(found.vectors) == num_items, rows, f"it has {len(found.vectors):,} rows of {num_items:,} items")
    bounded(rows, "vectors", found.vectors)
    require(1 <= found.candidates <= MOST_CANDIDATES, rows, f"candidates cannot be {found.candidates}")
    require(1 <= found.max_length <= schema.MAX_HISTORY, rows, f"max_length cannot be {found.max_length}")
    width = found.vectors.shape[1]
    given = {HISTORY: width, CANDIDATES: width, COUNTS: len(found.counts)}
    inputs = {name: Value(element=FLOAT, shape=(FREE, FREE, numbers)) for name, numbers in given.items()}
    inputs[MASK] = Value(element=BOOL, shape=(FREE, FREE))
    onnx_graph.check(str(graph), found.graph, inputs, {WORTH: Value(element=FLOAT, shape=(FREE, FREE))})


def encoder(file: Path, graph: bytes, dim: int, *, timed: bool) -> None:
    """Of the encoder: a graph that takes rows of the item table, and gives a vector as wide."""
    inputs = {HISTORY: Value(element=FLOAT, shape=(FREE, FREE, dim + timed)), MASK: Value(element=BOOL, shape=(FREE, FREE))}
    onnx_graph.check(str(file), graph, inputs, {USER: Value(element=FLOAT, shape=(FREE, dim))})


def ratings(file: Path, found: "Ratings", num_items: int) -> None:
    """Of ratings: users by ascending keys, and a bias and a vector of one width for each of them and of the items."""
    require(len(found.keys) and (found.keys[1:] >= found.keys[:-1]).all(), file, "its users are not in the order of their keys")
    width = found.item_vectors.shape[1]
    parts: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
        "user_vectors": (found.user_vectors, (len(found.keys), width)),
        "item_vectors": (found.item_vectors, (num_items, width)),
        "user_bias": (found.user_bias, (len(found.keys),)),
        "item_bias": (found.item_bias, (num_items,)),
    }
    for name, (values, shape) in parts.items():
        shaped(file, name, values, shape)
        finite(file, name, values)
    is_scale = all(map(math.isfinite, (found.usual, found.lowest, found.highest))) and found.lowest <= found.highest
    require(is_scale, file, f"its scale cannot be {found.usual}, from {found.lowest} to {found.highest}")

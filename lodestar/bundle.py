"""The bundle: everything that answers a request, in one folder that names its own digest.

    bundle.json    what it is, the sha256 of every other file, and of itself without that
    encoder.onnx   item vectors [B, T, D] (and seconds, where time counts) and a mask [B, T] in, user vectors [B, D] out
    table.npz      the item vectors, at one of three precisions
    items.npz      ids, titles and categories of the items, and how popular each is
    neighbours.npz what is taken soon after each item, where that adds to the scores
    ranker.*       what puts the best in their last order, where that is better (see `lodestar.ranker`)
    ratings.npz    what users would rate items, where that is wanted (see `lodestar.ratings`)

It is read with numpy and json only; nothing in it can run code.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar import arrays, bundle_checks, catalogue, item_table, neighbours, ranker, ratings, schema
from lodestar.arrays import Arrays, Kinds
from lodestar.catalogue import Catalogue
from lodestar.errors import DataError, SchemaMismatch, shorten
from lodestar.item_table import ItemTable, Precision
from lodestar.neighbours import Neighbours
from lodestar.ranker import Ranker
from lodestar.ratings import Ratings
from lodestar.schema import needs

INFO, ENCODER, TABLE, ITEMS, NEIGHBOURS = "bundle.json", "encoder.onnx", "table.npz", "items.npz", "neighbours.npz"
COST = "cost.json"  # what training took, beside a bundle and no part of it
FILES = frozenset({ENCODER, TABLE, ITEMS, NEIGHBOURS, ranker.GRAPH, ranker.ROWS, ratings.FILE})
LARGEST_INFO = 1 << 20
POPULARITY = "popularity"
SEAL = "sha256"
SHOWN_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a bundle says of itself; `features` is the digest of what it was trained on, `files` maps names to sha256.

    `inputs` names each feature that it needs (see `lodestar.schema.needs`), those of the ranker in the order it takes them. Where it is
    `timed`, the encoder is given a column more than `dim`: the seconds since the item before.
    """

    family: str
    recipe: str
    dim: int
    max_length: int
    num_items: int
    precision: Precision
    encoder_precision: Precision
    features: str
    metrics: dict[str, float]
    timed: bool = False
    schema_hash: str = schema.HASH
    inputs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A loaded bundle; `graph` is its encoder, `popularity` says how many take each item, of late, [items]."""

    root: Path
    info: Info
    digest: str
    graph: bytes
    table: ItemTable
    items: Catalogue
    popularity: NDArray[np.float32]
    neighbours: Neighbours | None
    ranker: Ranker | None
    ratings: Ratings | None

    @property
    def num_bytes(self) -> int:
        """The size on disk of what serving reads; a log beside it does not count."""
        return sum((self.root / name).stat().st_size for name in (INFO, *self.info.files))


def write(  # noqa: PLR0913, PLR0917  # a file each
    folder: Path,
    info: Info,
    encoder: bytes,
    table: ItemTable,
    items: Catalogue,
    popularity: NDArray[np.float32],
    beside: Neighbours | None = None,
    ranking: Ranker | None = None,
    rating: Ratings | None = None,
) -> None:
    """Fill a folder; `info.inputs` and `info.files` are computed here. Publish it with `storage.publish_folder`."""
    folder.joinpath(ENCODER).write_bytes(encoder)
    arrays.save(folder / TABLE, table.arrays())
    arrays.save(folder / ITEMS, {**items.arrays(), POPULARITY: popularity.astype(np.float32)})
    if beside is not None:
        arrays.save(folder / NEIGHBOURS, beside.arrays())
    if ranking is not None:
        folder.joinpath(ranker.GRAPH).write_bytes(ranking.graph)
        arrays.save(folder / ranker.ROWS, ranking.arrays())
    if rating is not None:
        arrays.save(folder / ratings.FILE, rating.arrays())
    parts = {NEIGHBOURS: beside, ranker.GRAPH: ranking, ranker.ROWS: ranking, ratings.FILE: rating}
    names = [ENCODER, TABLE, ITEMS, *(name for name, part in parts.items() if part is not None)]
    files = {name: _sha256(folder / name) for name in names}
    inputs = needs.needs(timed=info.timed, counts=ranking.counts if ranking is not None else ())
    folder.joinpath(INFO).write_bytes(_sealed({**asdict(info), "inputs": inputs, "files": files}))


def load(root: Path) -> Bundle:
    """A bundle in which every part is what was published, is read without running it, and fits the others.

    DataError E152 where a file is missing or altered, E181 and E182 where what it holds is damaged or does not fit, E183 where a graph is
    none that this version runs; SchemaMismatch where it was made for other columns or needs a feature that this version has not.
    """
    if not (root / INFO).exists():
        raise DataError("E152", f"{root} is not a bundle", remedy="Give the folder that holds bundle.json.")
    content = _read(root / INFO, LARGEST_INFO)
    values = _opened(root / INFO, content)
    if values.get("schema_hash") != schema.HASH:
        raise SchemaMismatch(f"bundle {root} was made for schema {values.get('schema_hash')}, this version has {schema.HASH}")
    if "inputs" not in values:
        raise SchemaMismatch(f"bundle {root} does not name the features it needs")
    bundle_checks.description(root / INFO, values)
    info = Info(**values)
    counts = needs.counts_of(str(root), info.inputs)
    parts = _Parts(root, info)
    return Bundle(
        root=root,
        info=info,
        digest=hashlib.sha256(content).hexdigest()[:SHOWN_DIGITS],
        graph=parts.encoder(),
        table=parts.table(),
        items=parts.items(),
        popularity=parts.popularity(),
        neighbours=parts.neighbours() if NEIGHBOURS in info.files else None,
        ranker=parts.ranker(counts) if ranker.GRAPH in info.files else None,
        ratings=parts.ratings() if ratings.FILE in info.files else None,
    )


class _Parts:
    """The files of a bundle, each read through the very descriptor whose content had the digest."""

    def __init__(self, root: Path, info: Info) -> None:
        self.root, self.info = root, info
        pairs_of = {frozenset(info.files) & {ranker.GRAPH, ranker.ROWS}}
        is_known = {ENCODER, TABLE, ITEMS} <= info.files.keys() <= FILES and pairs_of <= {
            frozenset(),
            frozenset({ranker.GRAPH, ranker.ROWS}),
        }
        bundle_checks.require(is_known, root / INFO, f"its files cannot be {shorten(', '.join(sorted(info.files)))}")
        has_counts = bool(info.inputs[needs.COUNTS])
        bundle_checks.require(
            has_counts == (ranker.GRAPH in info.files), root / INFO, "it names numbers for a ranker and has none, or the other way round"
        )
        self._items = self._arrays(ITEMS, {POPULARITY: ("f", (None,)), schema.IS_ACTIVE: ("b", (None,))})

    def graph(self, name: str) -> bytes:
        with self._verified(name) as content:
            return content.read()

    def encoder(self) -> bytes:
        found = self.graph(ENCODER)
        bundle_checks.encoder(self.root / ENCODER, found, self.info.dim, timed=self.info.timed)
        return found

    def table(self) -> ItemTable:
        found = item_table.from_arrays(self.info.precision, self._arrays(TABLE, item_table.KINDS))
        bundle_checks.table(self.root / TABLE, found, self.info.dim, self.info.num_items)
        return found

    def items(self) -> Catalogue:
        found = catalogue.from_arrays(self._items)
        bundle_checks.items(self.root / ITEMS, found, self.info.num_items)
        return found

    def popularity(self) -> NDArray[np.float32]:
        found = self._items[POPULARITY].astype(np.float32)
        bundle_checks.shaped(self.root / ITEMS, POPULARITY, found, (self.info.num_items,))
        bundle_checks.finite(self.root / ITEMS, POPULARITY, found)
        return found

    def neighbours(self) -> Neighbours:
        found = neighbours.from_arrays(self._arrays(NEIGHBOURS, neighbours.KINDS))
        bundle_checks.neighbours(self.root / NEIGHBOURS, found, self.info.num_items)
        return found

    def ranker(self, counts: tuple[str, ...]) -> Ranker:
        found = Ranker.from_arrays(self.graph(ranker.GRAPH), self._arrays(ranker.ROWS, ranker.KINDS), counts)
        bundle_checks.ranker((self.root / ranker.GRAPH, self.root / ranker.ROWS), found, self.info.num_items)
        return found

    def ratings(self) -> Ratings:
        found = Ratings.from_arrays(self._arrays(ratings.FILE, ratings.KINDS))
        bundle_checks.ratings(self.root / ratings.FILE, found, self.info.num_items)
        return found

    def _arrays(self, name: str, kinds: Kinds) -> Arrays:
        with self._verified(name) as content:
            found = arrays.load(content, str(self.root / name))
        bundle_checks.arrays_of(self.root / name, found, kinds)
        return found

    @contextmanager
    def _verified(self, name: str) -> Iterator[BufferedReader]:
        with _regular(self.root / name) as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != self.info.files[name]:
                raise _altered(self.root / name)
            content.seek(0)
            yield content


@contextmanager
def _regular(file: Path) -> Iterator[BufferedReader]:
    """A file that is one and no link, opened; what it leads to would be no part of the bundle."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _altered(file) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _altered(file)
    with os.fdopen(descriptor, "rb") as content:
        yield content


def _read(file: Path, most: int) -> bytes:
    with _regular(file) as content:
        found = content.read(most + 1)
    if len(found) > most:
        raise _altered(file)
    return found


def _sealed(values: dict[str, Any]) -> bytes:
    seal = hashlib.sha256(_text(values)).hexdigest()
    return _text({**values, SEAL: seal})


def _opened(file: Path, content: bytes) -> dict[str, Any]:
    try:
        values = dict(json.loads(content))
        values.pop(SEAL, None)
        is_intact = _sealed(values) == content
    except (ValueError, TypeError, RecursionError) as error:
        raise _altered(file) from error
    if not is_intact:
        raise _altered(file)
    return values


def _text(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _altered(file: Path) -> DataError:
    return DataError("E152", f"{file} is missing or not what was published", remedy="Publish the bundle again.")


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

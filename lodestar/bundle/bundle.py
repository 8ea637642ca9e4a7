"""Bundle format: everything serving needs to answer a request, in one folder with a content digest.

    bundle.json    metadata, the sha256 of every other file, and a sha256 of itself
    encoder.onnx   in: item vectors [B, T, D] (D + 1 with time gaps in seconds) and mask [B, T]; out: user vectors [B, D]
    table.npz      item vectors at fp32, int8 or int4
    items.npz      ids, titles, categories and popularity of the items
    neighbours.npz optional item-kNN or co-occurrence scores that are added to the model's (see `lodestar.bundle.neighbours`)
    ranker.*       optional second stage that reorders the candidates (see `lodestar.bundle.ranker`)
    ratings.npz    optional rating prediction model (see `lodestar.bundle.ratings`)

It is read with numpy and json only, without pickle; nothing in it can run code.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from lodestar import schema
from lodestar.bundle import catalogue, checks, feature_needs, item_table, neighbours, ranker, ratings
from lodestar.bundle.catalogue import Catalogue
from lodestar.bundle.item_table import ItemTable, Precision
from lodestar.bundle.neighbours import NeighbourTable
from lodestar.bundle.ranker import RANKER_GRAPH, RANKER_ROWS, Ranker
from lodestar.bundle.ratings import RATINGS_FILE, Ratings
from lodestar.errors import DataError, SchemaMismatch
from lodestar.io import npz
from lodestar.io.npz import Arrays, Kinds
from lodestar.process.safe_text import shorten
from lodestar.schema import feedback
from lodestar.schema.arrays import Float32, Floats
from lodestar.schema.feedback import BINARY, Feedback

INFO, ENCODER, TABLE, ITEMS, NEIGHBOURS = "bundle.json", "encoder.onnx", "table.npz", "items.npz", "neighbours.npz"
EPOCHS_LOG = "epochs.jsonl"  # a line for each epoch of training; outside the digest too
FORCED = "forced.json"  # the quality gate's verdict, where a bundle was released by force; outside the digest too
COST = "cost.json"  # time, threads and workers of training; in the bundle's folder, but not covered by its digest
FILES = frozenset({ENCODER, TABLE, ITEMS, NEIGHBOURS, RANKER_GRAPH, RANKER_ROWS, RATINGS_FILE})
MAX_INFO_BYTES = 1 << 20
POPULARITY = "popularity"
SEAL = "sha256"
DIGEST_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class BundleInfo:
    """Metadata of a bundle (bundle.json); `features` is the digest of the feature set it was trained on, `files` maps names to sha256.

    `inputs` lists the features that it needs (see `lodestar.bundle.feature_needs`), the ranker's in input order. With `use_time_gaps`, the
    encoder's input has `dim + 1` columns; the last is the seconds since the previous item. `feedback` are the rules of feedback as JSON
    values, by which serving filters; with `reads_filters`, more than the items of a history is filtered. `training` is the training record
    (see `lodestar.bundle.training_record`).
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
    use_time_gaps: bool = False
    feedback: dict[str, Any] = field(default_factory=BINARY.to_json)
    reads_filters: bool = False
    training: dict[str, Any] = field(default_factory=dict)
    schema_hash: str = schema.HASH
    inputs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, str]

    @cached_property
    def rules(self) -> Feedback:
        """The rules of feedback that the model was trained by."""
        return feedback.from_json(self.feedback)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A loaded bundle; `encoder` is its ONNX graph, `popularity` [items] are the cold-start scores: recent interactions per item."""

    root: Path
    info: BundleInfo
    digest: str
    encoder: bytes
    table: ItemTable
    items: Catalogue
    popularity: Float32[Floats, " items"]
    neighbours: NeighbourTable | None
    ranker: Ranker | None
    ratings: Ratings | None

    @property
    def num_bytes(self) -> int:
        """Size on disk of the files that serving reads, without training logs."""
        return sum((self.root / name).stat().st_size for name in (INFO, *self.info.files))


def write(  # noqa: PLR0913, PLR0917  # a file each
    folder: Path,
    info: BundleInfo,
    encoder: bytes,
    table: ItemTable,
    items: Catalogue,
    popularity: Float32[Floats, " items"],
    neighbours: NeighbourTable | None = None,
    ranker: Ranker | None = None,
    ratings: Ratings | None = None,
) -> None:
    """Write a bundle into a folder; `info.inputs` and `info.files` are computed here. Publish it with `storage.publish_folder`."""
    folder.joinpath(ENCODER).write_bytes(encoder)
    npz.save(folder / TABLE, table.arrays())
    npz.save(folder / ITEMS, {**items.arrays(), POPULARITY: popularity.astype(np.float32)})
    if neighbours is not None:
        npz.save(folder / NEIGHBOURS, neighbours.arrays())
    if ranker is not None:
        folder.joinpath(RANKER_GRAPH).write_bytes(ranker.graph)
        npz.save(folder / RANKER_ROWS, ranker.arrays())
    if ratings is not None:
        npz.save(folder / RATINGS_FILE, ratings.arrays())
    parts = {NEIGHBOURS: neighbours, RANKER_GRAPH: ranker, RANKER_ROWS: ranker, RATINGS_FILE: ratings}
    names = [ENCODER, TABLE, ITEMS, *(name for name, part in parts.items() if part is not None)]
    files = {name: _sha256(folder / name) for name in names}
    inputs = feature_needs.required_features(
        use_time_gaps=info.use_time_gaps,
        reads_filters=info.reads_filters,
        count_names=ranker.count_names if ranker is not None else (),
    )
    folder.joinpath(INFO).write_bytes(_sealed({**asdict(info), "inputs": inputs, "files": files}))


def load(root: Path) -> Bundle:
    """Load and validate a bundle: digests, array shapes and finite values, ONNX graphs, and the features it needs.

    Raises DataError E152 if it is none, E156 if a file is missing or altered, E181 or E182 if its content is damaged or
    inconsistent, E183 if this version cannot run a graph; SchemaMismatch E150 if it was built for another schema or
    needs a feature that this version does not have.
    """
    if not (root / INFO).exists():
        raise DataError("E152", f"{root} is not a bundle", remedy="Give the folder that holds bundle.json.")
    content = _read(root / INFO, MAX_INFO_BYTES)
    values = _read_sealed(root / INFO, content)
    if values.get("schema_hash") != schema.HASH:
        raise SchemaMismatch(f"bundle {root} was made for schema {values.get('schema_hash')}, this version has {schema.HASH}")
    if "inputs" not in values:
        raise SchemaMismatch(f"bundle {root} does not name the features it needs")
    # Bundles from before there were rules were trained by these; older ones have no record of training either.
    values = dict[str, Any]({"feedback": BINARY.to_json(), "reads_filters": False, "training": {}, **values})
    checks.check_info(root / INFO, values)
    info = BundleInfo(**values)
    count_names = feature_needs.count_names(str(root), info.inputs)
    parts = _Parts(root, info)
    return Bundle(
        root=root,
        info=info,
        digest=hashlib.sha256(content).hexdigest()[:DIGEST_DIGITS],
        encoder=parts.encoder(),
        table=parts.table(),
        items=parts.items(),
        popularity=parts.popularity(),
        neighbours=parts.neighbours() if NEIGHBOURS in info.files else None,
        ranker=parts.ranker(count_names) if RANKER_GRAPH in info.files else None,
        ratings=parts.ratings() if RATINGS_FILE in info.files else None,
    )


class _Parts:
    """Files of a bundle; each is read through the file descriptor whose content was verified."""

    def __init__(self, root: Path, info: BundleInfo) -> None:
        self.root, self.info = root, info
        has_whole_ranker = (RANKER_GRAPH in info.files) == (RANKER_ROWS in info.files)
        is_known = {ENCODER, TABLE, ITEMS} <= info.files.keys() <= FILES and has_whole_ranker
        checks.require(is_known, root / INFO, f"its files cannot be {shorten(', '.join(sorted(info.files)))}")
        has_counts = bool(info.inputs[feature_needs.COUNTS])
        checks.require(
            has_counts == (RANKER_GRAPH in info.files), root / INFO, "it has count features without a ranker, or a ranker without them"
        )
        self._items = self._arrays(ITEMS, {POPULARITY: ("f", (None,)), schema.IS_ACTIVE: ("b", (None,))})

    def graph(self, name: str) -> bytes:
        with self._verified(name) as content:
            return content.read()

    def encoder(self) -> bytes:
        found = self.graph(ENCODER)
        checks.check_encoder(self.root / ENCODER, found, self.info.dim, use_time_gaps=self.info.use_time_gaps)
        return found

    def table(self) -> ItemTable:
        found = item_table.from_arrays(self.info.precision, self._arrays(TABLE, item_table.KINDS))
        checks.check_table(self.root / TABLE, found, self.info.dim, self.info.num_items)
        return found

    def items(self) -> Catalogue:
        found = catalogue.from_arrays(self._items)
        checks.check_items(self.root / ITEMS, found, self.info.num_items)
        return found

    def popularity(self) -> Float32[Floats, " items"]:
        found = self._items[POPULARITY].astype(np.float32)
        checks.check_shape(self.root / ITEMS, POPULARITY, found, (self.info.num_items,))
        checks.check_finite(self.root / ITEMS, POPULARITY, found)
        return found

    def neighbours(self) -> NeighbourTable:
        found = neighbours.from_arrays(self._arrays(NEIGHBOURS, neighbours.KINDS))
        checks.check_neighbours(self.root / NEIGHBOURS, found, self.info.num_items)
        return found

    def ranker(self, count_names: tuple[str, ...]) -> Ranker:
        found = Ranker.from_arrays(self.graph(RANKER_GRAPH), self._arrays(RANKER_ROWS, ranker.KINDS), count_names)
        checks.check_ranker((self.root / RANKER_GRAPH, self.root / RANKER_ROWS), found, self.info.num_items)
        return found

    def ratings(self) -> Ratings:
        found = Ratings.from_arrays(self._arrays(RATINGS_FILE, ratings.KINDS))
        checks.check_ratings(self.root / RATINGS_FILE, found, self.info.num_items)
        return found

    def _arrays(self, name: str, kinds: Kinds) -> Arrays:
        with self._verified(name) as content:
            found = npz.load(content, str(self.root / name))
        checks.check_arrays(self.root / name, found, kinds)
        return found

    @contextmanager
    def _verified(self, name: str) -> Iterator[BufferedReader]:
        with _open_regular(self.root / name) as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != self.info.files[name]:
                raise _altered_error(self.root / name)
            content.seek(0)
            yield content


@contextmanager
def _open_regular(file: Path) -> Iterator[BufferedReader]:
    """Open a regular file; a symbolic link is refused, since its target is no part of the bundle."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
            raise
        raise _altered_error(file) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _altered_error(file)
    with os.fdopen(descriptor, "rb") as content:
        yield content


def _read(file: Path, max_bytes: int) -> bytes:
    with _open_regular(file) as content:
        found = content.read(max_bytes + 1)
    if len(found) > max_bytes:
        raise _altered_error(file)
    return found


def _sealed(values: dict[str, Any]) -> bytes:
    seal = hashlib.sha256(_text(values)).hexdigest()
    return _text({**values, SEAL: seal})


def _read_sealed(file: Path, content: bytes) -> dict[str, Any]:
    try:
        values = dict(json.loads(content))
        values.pop(SEAL, None)
        is_intact = _sealed(values) == content
    except (ValueError, TypeError, RecursionError) as error:
        raise _altered_error(file) from error
    if not is_intact:
        raise _altered_error(file)
    return values


def _text(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _altered_error(file: Path) -> DataError:
    return DataError("E156", f"{file} is missing or was altered after publication", remedy="Publish the bundle again.")


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

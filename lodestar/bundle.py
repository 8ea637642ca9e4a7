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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar import arrays, catalogue, item_table, neighbours, ranker, ratings, schema
from lodestar.catalogue import Catalogue
from lodestar.errors import DataError, SchemaMismatch
from lodestar.item_table import ItemTable, Precision
from lodestar.neighbours import Neighbours
from lodestar.ranker import Ranker
from lodestar.ratings import Ratings

INFO, ENCODER, TABLE, ITEMS, NEIGHBOURS = "bundle.json", "encoder.onnx", "table.npz", "items.npz", "neighbours.npz"
COST = "cost.json"  # what training took, beside a bundle and no part of it
POPULARITY = "popularity"
SEAL = "sha256"
SHOWN_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a bundle says of itself; `features` is the digest of what it was trained on, `files` maps names to sha256.

    Where it is `timed`, the encoder is given a column more than `dim`: the seconds since the item before.
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
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A loaded bundle; `popularity` says how many take each item, of late, [items]."""

    root: Path
    info: Info
    digest: str
    table: ItemTable
    items: Catalogue
    popularity: NDArray[np.float32]
    neighbours: Neighbours | None
    ranker: Ranker | None
    ratings: Ratings | None

    @property
    def encoder(self) -> Path:
        return self.root / ENCODER

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
    """Fill a folder; `info.files` is computed here. Publish it with `storage.publish_folder`."""
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
    folder.joinpath(INFO).write_bytes(_sealed({**asdict(info), "files": files}))


def load(root: Path) -> Bundle:
    """DataError E152 where a file is missing or altered, SchemaMismatch where it was made for other columns."""
    if not (root / INFO).is_file():
        raise DataError("E152", f"{root} is not a bundle", remedy="Give the folder that holds bundle.json.")
    content = (root / INFO).read_bytes()
    values = _opened(root / INFO, content)
    if values["schema_hash"] != schema.HASH:
        raise SchemaMismatch(f"bundle {root} was made for schema {values['schema_hash']}, this version has {schema.HASH}")
    info = Info(**values)
    for name, expected in info.files.items():
        if not (root / name).is_file() or _sha256(root / name) != expected:
            raise _altered(root / name)
    rows = arrays.load(root / ITEMS)
    return Bundle(
        root=root,
        info=info,
        digest=hashlib.sha256(content).hexdigest()[:SHOWN_DIGITS],
        table=item_table.from_arrays(info.precision, arrays.load(root / TABLE)),
        items=catalogue.from_arrays(rows),
        popularity=rows[POPULARITY].astype(np.float32),
        neighbours=neighbours.from_arrays(arrays.load(root / NEIGHBOURS)) if NEIGHBOURS in info.files else None,
        ranker=_ranker(root) if ranker.GRAPH in info.files else None,
        ratings=Ratings.from_arrays(arrays.load(root / ratings.FILE)) if ratings.FILE in info.files else None,
    )


def _ranker(root: Path) -> Ranker:
    return Ranker.from_arrays((root / ranker.GRAPH).read_bytes(), arrays.load(root / ranker.ROWS))


def _sealed(values: dict[str, Any]) -> bytes:
    seal = hashlib.sha256(_text(values)).hexdigest()
    return _text({**values, SEAL: seal})


def _opened(file: Path, content: bytes) -> dict[str, Any]:
    try:
        values = dict(json.loads(content))
    except (ValueError, TypeError) as error:
        raise _altered(file) from error
    values.pop(SEAL, None)
    if _sealed(values) != content:
        raise _altered(file)
    return values


def _text(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()


def _altered(file: Path) -> DataError:
    return DataError("E152", f"{file} is missing or not what was published", remedy="Publish the bundle again.")


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

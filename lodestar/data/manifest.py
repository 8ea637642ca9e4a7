"""What a folder of tables consists of: a part is in a table when the manifest says so, and not before."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lodestar import schema, storage
from lodestar.errors import DataError, EnvironmentFault
from lodestar.file_names import below, existing_below

FILE = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One Parquet file of a table; `path` is relative to the folder."""

    path: str
    rows: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Parts by table, the files that they came from by digest, and the tables that only events have named so far."""

    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    named_by_events: tuple[str, ...] = ()
    order_only: bool = False
    contract: str = schema.HASH

    def rows(self, table: schema.Table) -> int:
        return sum(part.rows for part in self.parts.get(table.name, ()))


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A folder and its manifest, None where it has none, as they were at one moment: no part that is named goes as long as this lives."""

    folder: storage.Held
    manifest: Manifest | None


def snapshot(root: Path) -> Snapshot:
    """FileNotFoundError where there is no folder; errors as `read`."""
    folder = storage.hold(root)
    return Snapshot(folder=folder, manifest=read(folder.path, root))


def read(root: Path, shown: Path | None = None) -> Manifest | None:
    """The folder's manifest, None where it has none; `shown` is what messages call the folder.

    DataError E152 where it was written for another contract, EnvironmentFault E560 to E562 where a path in it leads out of the folder, E568
    where it is no manifest.
    """
    path, where = root / FILE, shown or root
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        if content.get("contract") != schema.HASH:
            remedy = "Ingest the data again into another folder."
            raise DataError("E152", f"the tables in {where} follow another version of the contract", remedy=remedy)
        parts = {name: tuple(Part(**part) for part in found) for name, found in content.pop("parts").items()}
        manifest = Manifest(**{**content, "parts": parts, "named_by_events": tuple(content["named_by_events"])})
        names = [part.path for found in parts.values() for part in found]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{where / FILE} is no manifest ({type(error).__name__} {error})"
        raise EnvironmentFault("E568", message, remedy="Ingest the data again into another folder.") from error
    for name in below(root, names, str(where / FILE)):
        existing_below(root, name, str(where / FILE))
    return manifest


def write(root: Path, manifest: Manifest) -> None:
    """Make it the folder's, at once."""
    with storage.publish_file(root / FILE) as path:
        path.write_text(json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n")

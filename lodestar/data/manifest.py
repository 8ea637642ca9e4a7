"""What a folder of tables consists of: a part is in a table when the manifest says so, and not before."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lodestar import schema, storage
from lodestar.errors import DataError

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


def read(root: Path) -> Manifest | None:
    """The folder's manifest, None where it has none; DataError E152 where it was written for another contract."""
    path = root / FILE
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    if content.get("contract") != schema.HASH:
        remedy = "Ingest the data again into another folder."
        raise DataError("E152", f"the tables in {root} follow another version of the contract", remedy=remedy)
    parts = {name: tuple(Part(**part) for part in found) for name, found in content.pop("parts").items()}
    return Manifest(**{**content, "parts": parts, "named_by_events": tuple(content["named_by_events"])})


def write(root: Path, manifest: Manifest) -> None:
    """Make it the folder's, at once."""
    with storage.publish_file(root / FILE) as path:
        path.write_text(json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n")

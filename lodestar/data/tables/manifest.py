"""Manifest of a folder of tables: a part belongs to a table once the manifest lists it (atomic publish)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lodestar import schema
from lodestar.errors import DataError, EnvironmentFault
from lodestar.io import storage
from lodestar.io.safe_paths import below, existing_below
from lodestar.schema import feedback
from lodestar.schema.feedback import Feedback

FILE = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One Parquet file of a table; `path` is relative to the folder, `sha256` has 64 hex digits."""

    path: str
    rows: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Parts by table, names of the ingested files by sha256, and the tables whose rows are derived from events so far.

    `order_only`: the data had an order but no event times. `feedback`: the declared rules of feedback, None for the defaults.
    `outlier_bounds` are the bounds that the first ingest fitted, by column. `contract` is the schema hash they were written for.
    """

    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    named_by_events: tuple[str, ...] = ()
    order_only: bool = False
    feedback: Feedback | None = None
    outlier_bounds: Mapping[str, float] = field(default_factory=dict)
    contract: str = schema.HASH

    def rows(self, table: schema.Table) -> int:
        """Number of rows in all parts of a table."""
        return sum(part.rows for part in self.parts.get(table.name, ()))


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Consistent snapshot of a folder and its manifest (None without one): listed parts are not removed while this object lives."""

    folder: storage.FolderHandle
    manifest: Manifest | None


def snapshot(root: Path) -> Snapshot:
    """Open a snapshot of a folder; FileNotFoundError where it does not exist, other errors as `read`."""
    folder = storage.open_handle(root)
    return Snapshot(folder=folder, manifest=read(folder.path, root))


def read(root: Path, shown: Path | None = None) -> Manifest | None:
    """Read the manifest of a folder, None where it has none; messages call the folder `shown`.

    DataError E157 where it was written for another contract, EnvironmentFault E560 to E562 where a path in it leads out of the folder, E568
    where it is not a valid manifest.
    """
    path, where = root / FILE, shown or root
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        if content.get("contract") != schema.HASH:
            remedy = "Ingest the data again into another folder."
            raise DataError("E157", f"the tables in {where} follow another version of the contract", remedy=remedy)
        parts = {name: tuple(Part(**part) for part in table_parts) for name, table_parts in content.pop("parts").items()}
        rules = content.pop("feedback", None)
        content["feedback"] = None if rules is None else feedback.from_json(rules)
        fields: dict[str, Any] = {**content, "parts": parts, "named_by_events": tuple(content["named_by_events"])}
        manifest = Manifest(**fields)
        names = [part.path for table_parts in parts.values() for part in table_parts]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{where / FILE} is no manifest ({type(error).__name__} {error})"
        raise EnvironmentFault("E568", message, remedy="Ingest the data again into another folder.") from error
    for name in below(root, names, str(where / FILE)):
        existing_below(root, name, str(where / FILE))
    return manifest


def write(root: Path, manifest: Manifest) -> None:
    """Replace the folder's manifest atomically."""
    with storage.publish_file(root / FILE) as path:
        path.write_text(json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n")


def check_feedback(root: Path, manifest: Manifest, declared: Feedback | None) -> None:
    """DataError E159 where data to append to a folder declare other rules of feedback than its manifest; None declares nothing."""
    if declared is None or declared == manifest.feedback:
        return
    new, old = (asdict(rules) for rules in (declared, manifest.feedback or Feedback()))
    if differing := [name for name in new if new[name] != old[name]]:
        name, remedy = differing[0], "Declare what the tables were begun with, or ingest all data into another folder."
        shown = f"feedback.{name} = {json.dumps(new[name])}, and the tables in {root} were begun with {json.dumps(old[name])}"
        raise DataError("E159", f"the data declare {shown}", remedy=remedy)

"""A data set as tables of the contract, whatever its files are, and functions that its readers share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lodestar.data.contract.outliers import OutlierRule
from lodestar.data.readers.source import Source
from lodestar.data.tables.manifest import Snapshot
from lodestar.schema.feedback import Feedback
from lodestar.schema.time_units import SECOND_US

ORDER_START_US = 946_684_800_000_000  # 2000-01-01T00:00:00Z

Open = Callable[[], Sequence[Source]]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Tables of a data set, by name: functions that open a table's sources, which are read one after another.

    `order_only`: there is an order but no times. `feedback`: the declared rules of feedback, None for the defaults. `outliers`: the
    declared rules for events with extreme values, by column.
    `snapshot` keeps the files of an ingested folder while this object lives. `notes` are for the ingest report, on files that are not read.
    """

    tables: Mapping[str, Open]
    paths: tuple[Path, ...]
    order_only: bool = False
    feedback: Feedback | None = None
    outliers: Mapping[str, OutlierRule] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    notes: tuple[str, ...] = ()


def single_file(open_source: Callable[..., Source], *arguments: object) -> Open:
    """A table with one source, opened on demand."""
    return lambda: (open_source(*arguments),)


def times_from_order(positions: "pa.Array") -> "pa.Array":
    """Event times for data without times: position n is n seconds after 2000-01-01T00:00:00Z, as Arrow timestamps."""
    return pc.add(pc.multiply(positions, SECOND_US), ORDER_START_US).cast(pa.timestamp("us", tz="UTC"))


def constant(value: str, count: int) -> "pa.Array":
    """A text column of one value, [count]."""
    return pa.repeat(pa.scalar(str(value)), count)

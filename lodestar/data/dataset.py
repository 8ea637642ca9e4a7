"""A known data set: which tables its files give, and what its readers share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lodestar.data.manifest import Snapshot
from lodestar.data.source import Source

ORDER_START_US = 946_684_800_000_000  # 2000-01-01T00:00:00Z
SECOND_US = 1_000_000

Open = Callable[[], Sequence[Source]]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """The contract's tables that a data set gives, each as one file after the other, opened when it is asked for.

    `source` is the folder that they lie in, where one that is ingested into: its files stay as long as this lives.
    `notes` is what a person should know of files that are read as no table.
    """

    tables: Mapping[str, Open]
    files: tuple[Path, ...]
    order_only: bool = False
    source: Snapshot | None = None
    notes: tuple[str, ...] = ()


def one(opening: Callable[..., Source], *arguments: object) -> Open:
    """A table that one file gives."""
    return lambda: (opening(*arguments),)


def moments(places: "pa.Array") -> "pa.Array":
    """Where only an order is known, place n is n seconds after the start."""
    return pc.add(pc.multiply(places, SECOND_US), ORDER_START_US).cast(pa.timestamp("us", tz="UTC"))


def constant(value: str, count: int) -> "pa.Array":
    return pa.repeat(pa.scalar(str(value)), count)

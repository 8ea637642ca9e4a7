"""A small shop's tables in the bucket, as somebody's export puts them there: files under a prefix, replaced in place."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lodestar import schema
from lodestar.data.simulator import simulator

SIZE = ["--users", "300", "--items", "120", "--events", "15000"]
SHARES = (0.8, 0.9, 1.0)  # of the events, that have happened when the pipeline runs for the first, second and third time


@dataclass
class Shop:
    """Tables at `address`; `grow` replaces the events by the same and a tenth more. Beside it lies an older export that nobody names."""

    address: str
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="shop-")))
    runs: int = 0

    def __post_init__(self) -> None:
        simulator.main([*SIZE, "--output", str(self.folder / "all")])
        for name in ("users", "items"):
            self._put(self.folder / "all" / f"{name}.parquet", f"{self.address}/{name}.parquet")
        self.grow()
        self._put(self.folder / "all" / "events.parquet", f"{self.address}-old/events.parquet")

    def grow(self) -> None:
        """Replace the events."""
        events = pq.read_table(self.folder / "all" / "events.parquet").sort_by(schema.EVENT_TIME)
        events = events.slice(0, int(len(events) * SHARES[self.runs]))
        self.runs += 1
        pq.write_table(events, self.folder / "events.parquet")
        self._put(self.folder / "events.parquet", f"{self.address}/events.parquet")

    @property
    def num_events(self) -> int:
        return int(pc.count(pq.read_table(self.folder / "events.parquet")[schema.EVENT_ID]).as_py())

    @staticmethod
    def _put(file: Path, address: str) -> None:
        bucket, _, key = address.removeprefix("s3://").partition("/")
        boto3.client("s3").upload_file(str(file), bucket, key)

"""The landing: a folder or an `s3://` address of whole parts, `events/part-….jsonl.gz`, which `lodestar data ingest` reads."""

import gzip
from collections.abc import Callable
from pathlib import Path

from lodestar.data.readers.collector_parts import PART_SUFFIX
from lodestar.io import storage
from lodestar.io.private_folders import private_folder_in
from serving.spool import Spool, SpoolLimits

PART_BYTES = 32 << 20
SPOOL_BYTES = 1 << 30
# Parts are read once or twice: more effort saves a tenth of the bytes and costs more CPU than all the rest.
GZIP_LEVEL = 1


class Landing:
    """A destination of parts, one folder for each table; UsageError E315 for an `s3://` address without a bucket."""

    def __init__(self, address: str) -> None:
        if storage.is_remote(address):
            storage.check_address(address)
        self.address = address.rstrip("/")

    def publish(self, table: str, part: str, lines: bytes) -> None:
        """Write a part atomically as gzip; the same part again changes nothing. Errors of the store are passed on."""
        target = f"{self.address}/{table}/{part}{PART_SUFFIX}"
        storage.put(gzip.compress(lines, GZIP_LEVEL, mtime=0), target)


def open_spool(landing: Landing, folder: Path, part_s: float, published: Callable[[str], None]) -> Spool:
    """The spool of rows that are durable on disk before the response; `published` is called with the table of each published part.

    No row is dropped: when the spool is full, no more are accepted.
    """

    def publish(table: str, part: str, lines: bytes) -> None:
        landing.publish(table, part, lines)
        published(table)

    limits = SpoolLimits(part_bytes=PART_BYTES, part_s=part_s, max_bytes=SPOOL_BYTES, is_synced=True)
    return Spool(private_folder_in(folder), limits, publish)

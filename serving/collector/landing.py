"""The landing: a folder or an `s3://` address of whole parts, `events/part-….jsonl.gz`, which `lodestar data ingest` reads."""

import gzip

from lodestar.data.readers.collector_parts import PART_SUFFIX
from lodestar.io import storage

# Parts are read once or twice: more effort saves a tenth of the bytes and costs more CPU than all the rest.
GZIP_LEVEL = 1


class Landing:
    """A destination of parts, one folder for each table."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def publish(self, table: str, part: str, lines: bytes) -> None:
        """Write a part atomically as gzip; the same part again changes nothing. Errors of the store are passed on."""
        target = f"{self.address}/{table}/{part}{PART_SUFFIX}"
        storage.put(gzip.compress(lines, GZIP_LEVEL, mtime=0), target)

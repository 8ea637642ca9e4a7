"""The landing: a folder or an `s3://` address of whole parts, `events/part-….jsonl.gz`, that `lodestar data ingest` takes from."""

import gzip

from lodestar import storage
from lodestar.data.landed import PART_SUFFIX

# Parts are read once or twice: more effort saves a tenth of the bytes and costs more CPU than all the rest.
GZIP_LEVEL = 1


class Landing:
    """Where parts of any table go."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def publish(self, table: str, part: str, lines: bytes) -> None:
        """Put a part where it stays, whole or not at all; the same part again changes nothing. Whatever the store raises is passed on."""
        target = f"{self.address}/{table}/{part}{PART_SUFFIX}"
        storage.put(gzip.compress(lines, GZIP_LEVEL, mtime=0), target)

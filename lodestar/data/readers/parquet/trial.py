"""Trial read of a Parquet file under a memory limit: `python -m lodestar.data.readers.parquet.trial FILE BYTES COLUMN…`.

Exit status `TOO_MUCH` where the limit is exceeded, 0 for a damaged file too, which the reader reports itself.
"""

import resource
import sys
from pathlib import Path

import pyarrow as pa

from lodestar.data.readers.parquet.parquet import TOO_MUCH, UNREADABLE, pieces


def main() -> int:
    """Read the whole file of the command line under its memory limit; returns the exit status."""
    path, max_bytes, *columns = sys.argv[1:]
    pa.set_cpu_count(1)
    _limit(int(max_bytes))
    try:
        for _ in pieces(Path(path), columns):
            pass
    except (MemoryError, OverflowError):
        return TOO_MUCH
    except UNREADABLE:
        return 0
    return 0


def _limit(more_bytes: int) -> None:
    """Limit the process's data memory to its present size plus `more_bytes`; without /proc, to `more_bytes`."""
    status = Path("/proc/self/status")
    present_bytes = (
        [int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith("VmData")] if status.exists() else []
    )
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = sum(present_bytes) + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


if __name__ == "__main__":
    sys.exit(main())

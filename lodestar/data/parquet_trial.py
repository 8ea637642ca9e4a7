"""Read a Parquet file to its end in a process whose memory has a limit: `python -m lodestar.data.parquet_trial FILE BYTES COLUMN…`.

Exit status `TOO_MUCH` where the limit ends it. A file that is damaged ends it as a whole one does: the reader says what is wrong.
"""

import resource
import sys
from pathlib import Path

import pyarrow as pa

from lodestar.data.parquet import TOO_MUCH, UNREADABLE, pieces


def main() -> int:
    """Read the file that the command line names."""
    path, most, *columns = sys.argv[1:]
    pa.set_cpu_count(1)
    _limit(int(most))
    try:
        for _ in pieces(Path(path), columns):
            pass
    except (MemoryError, OverflowError):
        return TOO_MUCH
    except UNREADABLE:
        return 0
    return 0


def _limit(more_bytes: int) -> None:
    """So much more memory than the process has now; where the system does not say how much that is, so much at all."""
    status = Path("/proc/self/status")
    own = [int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith("VmData")] if status.exists() else []
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = sum(own) + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


if __name__ == "__main__":
    sys.exit(main())

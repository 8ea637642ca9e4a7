"""A file that unpacks to one line without an end is refused by a code, and does not fill the memory."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.unit.test_limits import GOOD, MB

ENDLESS = {
    "a row": ("events.csv.gz", GOOD["csv"], b"x" * MB, b"", "E171 events.csv.gz, line 8"),
    "a quote": ("events.csv.gz", GOOD["csv"] + b'u1,"', b"x\n" * (MB // 2), b"", "E171 events.csv.gz, line 8"),
    "a header": ("events.csv.gz", b"", b"x" * MB, b"", "E171 events.csv.gz, line 1"),
    "a line of JSON": ("events.jsonl.gz", GOOD["jsonl"], b"x" * MB, b"", "E171 events.jsonl.gz, line 7"),
    "no UTF-8 at its end": ("events.csv.gz", GOOD["csv"], b"x" * MB, b"\xff", "E104 events.csv.gz, line 8"),
}
# One process for all files: it starts with the memory of what it imports, and the most that it ever took is known after each.
READ = """
import json, sys
from lodestar.data.ingest import validate
from lodestar.errors import DataError
for path in sys.argv[1:]:
    said = []
    for quarantine in (False, True):
        try:
            said.append(str({code for table in validate(path, quarantine=quarantine).tables.values() for code in table.dropped}))
        except DataError as error:
            said.append(str(error))
    print(json.dumps([*said, next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))]))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, int]]:
    """Of each file what is said of it strictly and in quarantine, and MiB."""
    paths = [write(tmp_path_factory.mktemp("endless"), what) for what in ENDLESS]
    read = subprocess.run([sys.executable, "-c", READ, *map(str, paths)], stdout=subprocess.PIPE, text=True, check=True)
    return dict(zip(ENDLESS, map(json.loads, read.stdout.splitlines()), strict=True))


def write(folder: Path, what: str) -> Path:
    name, head, unit, tail, _ = ENDLESS[what]
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    content = (packer.compress(head), *(packer.compress(unit) for _ in range(256)), packer.compress(tail), packer.flush())
    (folder / name).write_bytes(b"".join(content))
    return folder / name


@pytest.mark.parametrize("what", ENDLESS)
def test_a_file_that_unpacks_to_one_line_is_refused_in_little_memory(found: dict[str, tuple[str, str, int]], what: str) -> None:
    strict, _, most_mib = found[what]
    assert strict.startswith(ENDLESS[what][-1])
    assert most_mib < 400

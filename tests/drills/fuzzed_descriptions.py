"""Damaged files of random forms are described and read plainly, or end in an error with a code: never in anything else."""

import gzip
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lodestar.data.address import Address
from lodestar.data.describe.describe_path import describe_path
from lodestar.data.ingest import validate
from lodestar.errors import LodestarError
from tests.foreign_forms import foreign

NAMES = ("log.csv", "events.csv", "ratings.dat", "log", "log.jsonl", "items.csv", "log.csv.gz", "users.tsv")
PIECES = (b'"', b"\n", b"\r\n", b"\0", b"\xff", b",", b"::", b"{", b"[", b"'", b"-", b"99999999999999999999", "é".encode(), b"%", b"\\")


def drill(seed: int, cases: int) -> dict[str, object]:
    """So many damaged files, each described and validated alone, and as a folder with another; counts by what came of them."""
    draw = random.Random(seed)
    found: Counter[str] = Counter()
    for _ in range(cases):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "data")
            folder.mkdir()
            for file in draw.sample(NAMES, 2):
                content = _damaged(foreign(draw.randrange(10**9)).content.encode(), draw)
                (folder / file).write_bytes(gzip.compress(content) if draw.random() < 0.1 else content)
            path = draw.choice([folder, *folder.iterdir()])
            found[f"described: {_outcome(partial(describe_path, Address(path=str(path)), Path(name)))}"] += 1
            found[f"validated: {_outcome(partial(validate, str(path)))}"] += 1
    return {"outcomes": dict(sorted(found.items()))}


def _damaged(content: bytes, draw: random.Random) -> bytes:
    """A content with a few pieces put in, left out, repeated or cut."""
    for _ in range(draw.randrange(6)):
        place, length = draw.randrange(len(content) + 1), draw.randrange(1, 40)
        match draw.randrange(4):
            case 0:
                content = content[:place] + draw.choice(PIECES) + content[place:]
            case 1:
                content = content[:place] + content[place + length :]
            case 2:
                content = content[:place] + content[place : place + length] * draw.randrange(1, 4) + content[place:]
            case _:
                content = content[: max(1, place)] if draw.random() < 0.2 else content[:place] + draw.randbytes(length) + content[place:]
    return content


def _outcome(call: Callable[[], object]) -> str:
    """`done`, or the code of the error; anything but a LodestarError is passed on."""
    try:
        call()
    except LodestarError as error:
        code = str(error).partition(" ")[0]
        return code if code[:1] == "E" and code[1:].isdigit() else type(error).__name__
    return "done"

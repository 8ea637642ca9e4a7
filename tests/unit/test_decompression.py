"""A file is unpacked by what its first bytes say, in bounded memory, and one that is damaged is told, never read in part."""

import bz2
import gzip
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from lodestar.data.readers import decompression
from lodestar.data.readers.readers import read
from lodestar.errors import DataError


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": zstd}
CSV = b"user_id,item_id\n" + b"".join(b"u%d,i%d\n" % (number, number * number) for number in range(9_000))
JSON = b"".join(b'{"user_id": "u%d"}\n' % number for number in range(9_000))


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize(("stem", "content"), [("log.csv", CSV), ("log.jsonl", JSON)])
def test_packed_text_is_read_under_its_own_and_any_other_suffix(kind: str, stem: str, content: bytes, tmp_path: Path) -> None:
    for name in (f"{stem}.{kind}", stem, stem.upper(), f"{stem}.gz"):
        (tmp_path / name).write_bytes(PACKERS[kind](content))
        found = read(tmp_path / name, {"user_id"})
        assert found.read()["user_id"].to_pylist() == [f"u{number}" for number in range(9_000)]
        assert list(found.lines([8_999])) == [content.count(b"\n")]


def test_plain_text_under_a_suffix_of_gzip_is_read(tmp_path: Path) -> None:
    (tmp_path / "log.csv.gz").write_bytes(CSV)
    assert len(read(tmp_path / "log.csv.gz", {"user_id"}).read()) == 9_000


@pytest.mark.parametrize("kind", PACKERS)
def test_several_streams_in_one_file_are_read_one_after_another(kind: str, tmp_path: Path) -> None:
    pack = PACKERS[kind]
    (tmp_path / "f").write_bytes(b"".join(pack(part) for part in (CSV, b"", JSON)))
    assert b"".join(decompression.read_chunks(tmp_path / "f")) == CSV + JSON
    if kind != "zst":
        (tmp_path / "f").write_bytes(pack(CSV) + bytes(8) + pack(JSON) + bytes(1 << 17))
        assert b"".join(decompression.read_chunks(tmp_path / "f")) == CSV + JSON


@pytest.mark.parametrize("kind", PACKERS)
def test_a_packed_file_that_is_cut_or_altered_is_a_coded_error(kind: str, tmp_path: Path) -> None:
    packed = PACKERS[kind](CSV)
    middle = len(packed) // 2
    altered = packed[:middle] + b"XXXXXXXX" + packed[middle + 8 :]  # zstd's checksum is optional
    for content in (packed[:middle], packed[:12], packed + b"what", *([altered] if kind != "zst" else [])):
        (tmp_path / "log.csv").write_bytes(content)
        with pytest.raises(DataError, match=r"E108 log\.csv: the file cannot be read"):
            read(tmp_path / "log.csv", {"user_id"}).read()


PEAK = """
import resource, sys
from pathlib import Path
from lodestar.data.readers import decompression
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = max(map(len, decompression.read_chunks(Path(sys.argv[1]))))
print(size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize("kind", PACKERS)
def test_a_file_that_unpacks_to_much_takes_little_memory(kind: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(PACKERS[kind](bytes(1 << 26)))
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path / "bomb")], capture_output=True, text=True, check=True)
    most_bytes, peak_mib = map(int, done.stdout.split())
    assert most_bytes <= decompression.CHUNK_BYTES
    assert peak_mib < 40


def test_xz_that_needs_much_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "nice_len": 8, "depth": 1}]
    compressor = lzma.LZMACompressor(filters=filters)
    (tmp_path / "log.csv").write_bytes(compressor.compress(CSV) + compressor.flush())
    with pytest.raises(DataError, match=r"E108 log\.csv: the file cannot be read \(Memory usage limit exceeded\)"):
        read(tmp_path / "log.csv", {"user_id"})

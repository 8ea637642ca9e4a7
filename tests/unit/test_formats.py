"""A file is read as what it is, whatever its name; what is not read is named, with a command that works when it is typed."""

import gzip
import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather, orc

from lodestar.data.readers.foreign_kinds import kind_of
from lodestar.data.readers.options import ReadOptions
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source
from lodestar.errors import DataError

ROWS = [{"user_id": "u1", "item_id": "a"}, {"user_id": "u2", "item_id": "é, b"}]
TABLE = pa.Table.from_pylist(ROWS)
CSV = 'user_id,item_id\nu1,a\nu2,"é, b"\n'
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
PRETTY = "\n".join(json.dumps(row, indent=2) for row in ROWS)


def source(folder: Path, content: bytes | str, name: str, **options: Any) -> Source:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path, {"user_id", "item_id"}, ReadOptions(**options))


def as_parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


@pytest.mark.parametrize("name", ["log.csv", "log.json", "log.jsonl", "log.txt", "log.dat", "log.data", "LOG.CSV", "log"])
@pytest.mark.parametrize("content", [LINES, json.dumps(ROWS), json.dumps(ROWS, indent=1), PRETTY, f"\n {PRETTY}\n", LINES.encode("utf-16")])
def test_json_is_read_under_any_name(content: bytes | str, name: str, tmp_path: Path) -> None:
    assert source(tmp_path, content, name).read().select(["user_id", "item_id"]).to_pylist() == ROWS


@pytest.mark.parametrize("name", ["log.csv", "LOG.TSV", "log.dat", "log.data", "log", "log.of.today", "log.parquet.csv"])
def test_delimited_text_is_read_under_any_name_that_says_nothing_else(name: str, tmp_path: Path) -> None:
    assert source(tmp_path, CSV, name).read().to_pylist() == ROWS


@pytest.mark.parametrize("name", ["log.csv", "log.json", "log", "LOG.PARQUET"])
def test_parquet_is_read_under_any_name(name: str, tmp_path: Path) -> None:
    assert source(tmp_path, as_parquet(), name).read().to_pylist() == ROWS


def test_a_declared_format_is_believed(tmp_path: Path) -> None:
    assert source(tmp_path, '{"user_id","item_id"\nu1,a\n', "log.csv", format="csv").names == ('{"user_id"', "item_id")
    with pytest.raises(DataError, match="E108"):
        source(tmp_path, CSV, "log.csv", format="parquet")


# JSON.


def test_objects_of_json_keep_their_lines(tmp_path: Path) -> None:
    found = source(
        tmp_path, '[\n{"user_id": "u1"},\n\n{"user_id":\n"u2"}, {"user_id": "u3"},\n3, {"user_id": 1, "user_id": 2}\n]\n', "log.json"
    )
    assert found.read()["user_id"].to_pylist() == ["u1", "u2", "u3"]
    assert list(found.lines([0, 1, 2])) == [2, 4, 5]
    assert [(one.line, one.code) for one in found.malformed()] == [(6, "E109"), (6, "E173")]


def test_objects_of_json_are_found_wherever_a_chunk_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = '[\n{"user_id": "é"}, 1234, "a",\n{"user_id": 12}, true\n]\n{"user_id": "u3"}'
    for chunk_bytes in (1, 2, 3, 5, 8):
        monkeypatch.setattr("lodestar.data.readers.decompression.CHUNK_BYTES", chunk_bytes)
        found = source(tmp_path, content, "log.json")
        assert found.read()["user_id"].to_pylist() == ["é", "12", "u3"]
        assert list(found.lines([0, 1, 2])) == [2, 3, 5]
        assert [(one.line, one.text) for one in found.malformed()] == [(2, "1234"), (2, '"a"'), (3, "true")]


def test_the_order_of_objects_on_one_line_is_kept(tmp_path: Path) -> None:
    rows = [{"user_id": f"u{number * 7919 % 20_000}"} for number in range(20_000)]
    assert source(tmp_path, json.dumps(rows), "log.json").read().select(["user_id"]).to_pylist() == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[\n{"user_id": "u1"},\n{"user_id" "u2"}\n]', r"E109 log\.json, line 3, value '{\"user_id\" \"u2\"}'"),
        ('[\n{"user_id": "u1"},\n{"user_id": "u2"}\n', "E108 log.json: the file ends before its array does"),
        ('[\n{"user_id": "u1"},\n{"user_id": "u2', "E109 log.json, line 3"),
        ('[{"user_id": ' + "[" * 100_000, "E109 log.json, line 1, .*nested too deeply"),
        ('[{"user_id": "' + "x" * (1 << 23) + '"}]', "E171 log.json, line 1"),
        ('[\n{"user_id": "u1"}, {"user_id": "\udcff"}]', "E104 log.json, line 2"),
    ],
)
def test_json_that_breaks_off_is_told_by_its_line(content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        source(tmp_path, content.encode(errors="surrogateescape"), "log.json").read()


def test_a_first_line_that_is_torn_is_one_bad_line(tmp_path: Path) -> None:
    found = source(tmp_path, f'{{"user_id": "u0",\n{LINES}', "log.jsonl")
    assert found.read().select(["user_id", "item_id"]).to_pylist() == ROWS
    assert [one.line for one in found.malformed()] == [1]


LITERALS = "".join(f"{row}\n" for row in ROWS)


def test_python_dictionaries_are_read_where_declared(tmp_path: Path) -> None:
    content = LITERALS + "\n \t\r\n{u'user_id': 3, 'early': False, 'none': None, 'tags': ['a', \"it's\"]}\n"
    found = source(tmp_path, gzip.compress(content.encode()), "log.json.gz", format="python-literal")
    assert set(found.names) == {"user_id", "item_id", "early", "none", "tags"}
    assert found.read().select(["user_id", "item_id"]).to_pylist() == [*ROWS, {"user_id": "3", "item_id": None}]
    assert list(found.lines([0, 2])) == [1, 5]


def test_python_dictionaries_are_refused_with_the_line_that_declares_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'E175 log\.json, line 1: .*Python dictionaries.* Declare format = "python-literal"'):
        source(tmp_path, LITERALS, "log.json")


BAD_LITERALS = [
    "\x1f",
    *("open('/etc/passwd')", "{'a': open}", "{'a': 1}.keys()", "['a']", "{'a'", "{'a': b'c'}", "{b'a': 1}", "{'a': {1, 2}}"),
    *("{'a': 1e999}", "{'a': 1, 'a': 2}", "{'a': " + "-" * 50_000 + "1}", "{'a': " + "9" * 5000 + "}", "{'a': '\\ud800'}"),
    *("{'a': " + "[" * 250 + "]" * 250 + "}", "{'a': [" + "1," * (1 << 20) + "]}"),
]


@pytest.mark.parametrize("line", BAD_LITERALS, ids=[line[:20] for line in BAD_LITERALS])
def test_a_line_that_is_no_dictionary_of_plain_values_is_malformed(line: str, tmp_path: Path) -> None:
    found = source(tmp_path, f"{line}\n{LITERALS}", "log.json", format="python-literal")
    rows = found.read()
    bad = list(found.malformed())
    assert len(rows) + len(bad) == 3
    assert rows["user_id"].to_pylist()[-2:] == ["u1", "u2"]
    assert [(one.line, one.code) for one in bad] == [(1, "E109")]


# What is not read.


def as_zip(*names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            archive.writestr(name, CSV)
    return sink.getvalue()


def as_tar() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        member = tarfile.TarInfo("own/log.csv")
        member.size = len(CSV.encode())
        archive.addfile(member, io.BytesIO(CSV.encode()))
    return sink.getvalue()


def written(write: Callable[[str], Any]) -> Callable[[], bytes]:
    def content() -> bytes:
        path = Path(os.environ["PYTEST_SCRATCH"]) / "written"
        path.unlink(missing_ok=True)
        write(str(path))
        return path.read_bytes()

    return content


def write_sqlite(path: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE events (user_id, item_id)")
        database.executemany("INSERT INTO events VALUES (:user_id, :item_id)", ROWS)
    database.close()


def write_numpy(path: str) -> None:
    with Path(path).open("wb") as file:
        np.save(file, np.arange(9))


def write_old_feather(path: str) -> None:
    with warnings.catch_warnings(action="ignore"):
        feather.write_feather(TABLE, path, version=1)


def write_duckdb(path: str) -> None:
    with duckdb.connect(path) as database:
        database.register("rows", TABLE)
        database.execute("CREATE TABLE events AS FROM rows")


# Content, its kind, and the file that its command writes; without a file the step is none for a shell.
FOREIGN: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "zip": (lambda: as_zip("own/log.csv"), "a zip archive", "it's/own/log.csv"),
    "tar": (as_tar, "a tar archive", "own/log.csv"),
    "tar.gz": (lambda: gzip.compress(as_tar()), "a tar archive", "own/log.csv"),
    "gzip twice": (lambda: gzip.compress(gzip.compress(CSV.encode())), "a file that is packed twice", "unpacked-it's"),
    "packed Parquet": (lambda: gzip.compress(as_parquet()), "a file that is packed twice", "unpacked-it's"),
    "feather": (written(lambda path: feather.write_feather(TABLE, path)), "a Feather file", "it's.parquet"),
    "old feather": (written(write_old_feather), "a Feather file", "it's.parquet"),
    "orc": (written(lambda path: orc.write_table(TABLE, path)), "an ORC file", "it's.parquet"),
    "sqlite": (written(write_sqlite), "a SQLite database", "it's.csv"),
    "duckdb": (written(write_duckdb), "a DuckDB database", "it's.parquet"),
    "numpy": (written(write_numpy), "a NumPy array", ""),
    "npz": (lambda: as_zip("a.npy"), "an archive of NumPy arrays", ""),
    "pickle": (written(lambda path: pd.DataFrame(ROWS).to_pickle(path)), "a Python pickle", ""),
    "xlsx": (lambda: as_zip("[Content_Types].xml", "xl/workbook.xml"), "an Excel file", ""),
    "docx": (lambda: as_zip("[Content_Types].xml", "word/document.xml"), "an Office document", ""),
    "xls": (lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an Excel file", ""),
    "pdf": (lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document", ""),
    "avro": (lambda: b"Obj\x01\x04\x14avro.codec", "an Avro file", ""),
    "html": (lambda: b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page", ""),
    "xml": (lambda: b'<?xml version="1.0"?><rows/>', "XML", ""),
    "lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a pointer of Git LFS", ""),
    "dump": (lambda: b"-- MySQL dump 10.13\nCREATE TABLE events (id int);\n", "a dump of a database", ""),
    "png": (lambda: b"\x89PNG\r\n\x1a\n", "a picture", ""),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_not_read_is_named_with_a_step_that_works(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_SCRATCH", str(tmp_path))
    content, name, target = FOREIGN[kind]
    folder = tmp_path / "my data"
    folder.mkdir()
    for file in ("it's.csv", "it's", "it's.parquet"):
        with pytest.raises(DataError, match=rf"E161 {file}: the file is {name}.*, which is not read") as caught:
            source(folder, content(), file)
    if target:
        command = caught.value.remedy.partition(": ")[2]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, env={**os.environ, "PATH": path})
        assert read(tmp_path / target, {"user_id", "item_id"}).read().to_pylist() == ROWS


@pytest.mark.parametrize(
    "content", [b"ORCHID,item_id\n1,2\n", b"DUCK,item_id\n", b"RDX,item_id\n", b"PARE,item_id\n", b"item_id\nDUCK\n", b"]ab\n"]
)
def test_text_that_begins_like_a_binary_file_is_text(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    assert kind_of(tmp_path / "log.csv", content) is None


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E161 .*a folder"):
        read(tmp_path, {"user_id"})


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_refused_with_its_encoding(encoding: str, tmp_path: Path) -> None:
    for content, name in ((CSV, "log.csv"), (LINES, "log.jsonl")):
        with pytest.raises(DataError, match=rf'E104 {name}: .* Declare encoding = "{encoding}"'):
            source(tmp_path, content.encode(encoding), name)
        assert source(tmp_path, content.encode(encoding), name, encoding=encoding).read().select(["user_id", "item_id"]).to_pylist() == ROWS


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_latin1_is_refused_with_what_reads_it(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    content = pack(CSV.encode("latin1"))
    with pytest.raises(DataError, match=r'E104 log\.csv, line 3, .*Declare encoding = "latin1"') as caught:
        source(tmp_path, content, "log.csv")
    subprocess.run(["bash", "-c", caught.value.remedy.partition("convert it: ")[2]], cwd=tmp_path, check=True)
    assert read(tmp_path / "utf8-log.csv", {"user_id", "item_id"}).read().to_pylist() == ROWS
    assert source(tmp_path, content, "log.csv", encoding="latin1").read().to_pylist() == ROWS

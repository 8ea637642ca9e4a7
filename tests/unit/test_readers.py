"""The same rows are the same table, however they are written; a row's line can always be told."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lodestar.data.readers.parquet import encodings
from lodestar.data.readers.readers import read
from lodestar.errors import DataError

Row = dict[str, str]
COLUMNS = ("user_id", "item_id", "note")
WANTED = {"user_id", "item_id"}


def as_csv(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=names)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_json_lines(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    return "".join(json.dumps({name: row[name] for name in names}) + "\n" for row in rows).encode()


def as_parquet(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in names}), buffer)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[Sequence[Row], Sequence[str]], bytes]] = {
    "csv": as_csv,
    "csv.gz": lambda rows, names: gzip.compress(as_csv(rows, names)),
    "jsonl": as_json_lines,
    "jsonl.gz": lambda rows, names: gzip.compress(as_json_lines(rows, names)),
    "parquet": as_parquet,
}
values = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, values)), min_size=1, max_size=5),
    names=st.permutations(COLUMNS),
    kind=st.sampled_from(sorted(WRITERS)),
)
def test_any_kind_and_order_of_columns_gives_the_same_rows(rows: list[Row], names: list[str], kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"events.{kind}"
    path.write_bytes(WRITERS[kind](rows, names))
    found = read(path, WANTED)
    assert set(found.names) == set(COLUMNS)
    assert found.read().select(["user_id", "item_id"]).to_pylist() == [{name: row[name] for name in ("user_id", "item_id")} for row in rows]
    assert list(found.malformed()) == []


def test_lines_count_blank_lines_and_breaks_within_quotes(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text('user_id,item_id\nu1,"a\nb"\n\nu2,c\nu3,d\n')
    assert list(read(path, WANTED).lines([0, 1, 2])) == [2, 5, 6]


def test_a_row_of_the_wrong_width_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id\nu1,a\nu2\nu3,c\n")
    found = read(path, WANTED)
    assert found.read()["user_id"].to_pylist() == ["u1", "u3"]
    assert [malformed.line for malformed in found.malformed()] == [3]
    assert list(found.lines([1])) == [4]


def test_a_json_line_that_is_no_object_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"user_id": "u1"}\n\n[1]\n{"user_id": 2}\n')
    found = read(path, WANTED)
    assert found.read()["user_id"].to_pylist() == ["u1", "2"]
    assert [malformed.line for malformed in found.malformed()] == [3]
    assert list(found.lines([1])) == [4]


def test_a_tab_separated_file_says_so_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    path.write_bytes("\ufeffuser_id\titem_id\nu1\ta,b\n".encode())
    assert read(path, WANTED).read().to_pylist() == [{"user_id": "u1", "item_id": "a,b"}]


PACKED = gzip.compress(b"user_id\nu1\n" * 9, mtime=0)  # two processes that collect the tests name them alike
NO_TEXT = as_parquet([{"user_id": "u1"}], ["user_id"]).replace(b"\x07user_id", b"\x07us\x97r_id")
DAMAGED = [
    *(("e.csv.gz", PACKED[:-9]), ("e.csv.gz", PACKED[:10] + b"\x07" + PACKED[11:])),
    *(("e.parquet", b"PAR1"), ("e.parquet", NO_TEXT)),
]


@pytest.mark.parametrize(("name", "content"), DAMAGED)
def test_a_damaged_file_is_a_coded_error(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="E108"):
        read(tmp_path / name, WANTED).read()


@pytest.mark.parametrize("line", [b"u2,caf\xe9", b"u2,caf\xe9,wide", b'"u2\xe9'])
def test_the_first_line_that_is_not_utf8_is_named(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_bytes(b"user_id,item_id\nu1,a\n" + line + b"\n")
    with pytest.raises(DataError, match=r"E104 events\.csv, line 3"):
        read(tmp_path / "events.csv", WANTED).read()


def test_a_file_that_is_not_there_is_a_coded_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E108 events\.csv: the file cannot be read \(No such file or directory\)"):
        read(tmp_path / "events.csv", WANTED)


def test_parquet_with_fewer_rows_than_its_footer_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    content = as_parquet([{"user_id": f"u{number}"} for number in range(3)], ["user_id"])
    footer = content.rindex(b"\x16\x06\x19\x1c")  # the number of rows, 3, before the list of row groups
    path.write_bytes(content[: footer + 1] + b"\x0c" + content[footer + 2 :])
    assert pq.ParquetFile(path).metadata.num_rows == 6
    with pytest.raises(DataError, match=r"E108 events\.parquet: the file is damaged \(it has 3 rows, and 6 by its footer\)"):
        read(path, WANTED).read()


def test_parquet_without_a_wanted_column_is_no_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    path.write_bytes(as_parquet([{"other": "x"}], ["other"]))
    found = read(path, WANTED)
    assert (found.names, found.columns, found.read().num_columns) == (("other",), (), 0)


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_parquet_file_that_unpacks_to_much_is_read_in_pieces(tmp_path: Path, is_plain: bool) -> None:
    long, file = "x" * (1 << 20), tmp_path / "bomb.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 149 + [None], pa.int32()), pa.array([long]))
    rows = pa.table({"user_id": [f"u{number}" for number in range(150)], "query_text": texts.cast(pa.string()) if is_plain else texts})
    pq.write_table(rows, file, compression="zstd", store_schema=False, use_dictionary=not is_plain)
    del rows, texts
    source = read(file, ["user_id", "query_text"])
    users: list[str] = []
    for batch in source.batches():
        assert batch.nbytes < 2 * encodings.BATCH_BYTES
        assert batch.schema.types == [pa.string(), pa.string()]
        assert batch["query_text"].drop_null().to_pylist() == [long] * (len(batch) - batch["query_text"].null_count)
        users += batch["user_id"].to_pylist()
    assert users == [f"u{number}" for number in range(150)]

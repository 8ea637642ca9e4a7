"""Delimited text as people have it: no row is lost, changed or made up without a word."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lodestar.data.readers.delimited.first_line import looks_like_data, suggest_columns
from lodestar.data.readers.delimited.quotes import QuoteScan
from lodestar.data.readers.options import ReadOptions
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source
from lodestar.errors import DataError

WANTED = ("user", "item", "note")
Cells = list[list[str]]


def source(folder: Path, content: bytes | str, name: str = "log.csv", **options: Any) -> Source:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path, WANTED, ReadOptions(**options))


def cells(found: Source) -> Cells:
    return [list(row.values()) for row in found.read().to_pylist()]


def malformed(found: Source) -> list[tuple[int, str]]:
    return [(one.line, one.message.partition(",")[0]) for one in found.malformed()]


# Quotes.


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('user\titem\nu1\t"Heroes" (live)\nu2\tc\n', [["u1", '"Heroes" (live)'], ["u2", "c"]]),
        ('user\titem\nu1\t"Heroes (live)\nu2\tc\n', [["u1", '"Heroes (live)'], ["u2", "c"]]),
        ('user\titem\nu1\t"Heroes\nu2\tc" d\nu3\te"\n', [["u1", '"Heroes'], ["u2", 'c" d'], ["u3", 'e"']]),
        ('user,item\nu1,"a \\"b\\", c"\nu2,c\n', [["u1", 'a "b", c'], ["u2", "c"]]),
        ('user,item\nu1,5" disc\nu2,"c, ""d"""\n', [["u1", '5" disc'], ["u2", 'c, "d"']]),
        ('user,item\nu1,"two\nlines"\nu2,c\n', [["u1", "two\nlines"], ["u2", "c"]]),
        ('user,item\r"u1",""\r"u2","c"\r', [["u1", ""], ["u2", "c"]]),
        ('"user","item"\n"u1","a"\n"u2","c"', [["u1", "a"], ["u2", "c"]]),
    ],
)
def test_quotes_are_read_as_the_whole_file_has_them(content: str, expected: Cells, tmp_path: Path) -> None:
    found = source(tmp_path, content)
    assert cells(found) == expected
    assert malformed(found) == []
    assert len(list(found.lines(range(len(expected))))) == len(expected)


def test_that_quotes_are_read_as_text_is_said_with_the_line(tmp_path: Path) -> None:
    assert source(tmp_path, 'user\titem\nu1\t"both"\n').notes == ()
    found = source(tmp_path, 'user\titem\nu1\ta\nu2\t"open\n')
    assert found.notes == ('quotes are read as text (quoting = "none"), as on line 3 the quote that opens here is not closed',)


@pytest.mark.parametrize(
    ("content", "line", "value"),
    [
        ('user,item\nu1,"a, b"\nu2,"open\nu3,c\n', 3, 'u2,"open'),
        ('user,item\nu1,"a"\nu2,"open\nu3,c\n', 3, 'u2,"open'),
        ('user,item\nu1,"a, b"\nu2,"Heroes" (live)\n', 3, 'u2,"Heroes" (live)'),
        ('user,item\n1,"open\n2,b\n3,"close"\n', 2, '1,"open'),
        ('user,item\n1,"open\n2,b\n3,close"\n', 2, "open"),
        ('"user,item\n1,b\n2,c\n', 1, '"user,item'),
    ],
)
def test_a_quote_that_would_lose_rows_is_refused_by_its_line(content: str, line: int, value: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'E172 .*or declare quoting = "none"') as caught:
        source(tmp_path, content).read()
    assert caught.value.place is not None
    assert (caught.value.place.line, caught.value.place.value) == (line, value)
    assert len(source(tmp_path, content, quoting="none").read()) + len(list(source(tmp_path, content, quoting="none").malformed())) <= 3


def test_a_person_may_declare_that_quotes_span_what_looks_like_rows(tmp_path: Path) -> None:
    content = 'user,item\n1,"open\n2,b\n3,close"\n'
    assert cells(source(tmp_path, content, quoting='"')) == [["1", "open\n2,b\n3,close"]]
    assert cells(source(tmp_path, content, quoting="none")) == [["1", '"open'], ["2", "b"], ["3", 'close"']]
    with pytest.raises(DataError, match=r"E172 log\.csv, line 2"):
        source(tmp_path, 'user,item\n1,"open\n', quoting='"')


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from('",\n\ra'), max_size=24), chunk_bytes=st.integers(1, 25))
def test_a_scan_of_quotes_agrees_with_a_parser(text: str, chunk_bytes: int) -> None:
    scan = QuoteScan(",", '"')
    for start in range(0, len(text), chunk_bytes):
        scan.add(text[start : start + chunk_bytes].encode())
    scan.end()
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        assert not scan.is_strict
        return
    # A quote within a value that none opens is a text, which the scan leaves to the parser.
    inner = any('"' in value for record in csv.reader(io.StringIO(text, newline=""), quoting=csv.QUOTE_NONE) for value in record)
    assert scan.is_strict or inner
    if scan.is_strict:
        assert scan.spans_lines == any(end in value for record in records for value in record for end in "\r\n")


def test_values_over_several_lines_lie_across_the_blocks_that_are_parsed(tmp_path: Path) -> None:
    long = "x\n" * 50_000
    found = source(tmp_path, "user,item\n" + "".join(f'u{number},"{long}"\n' for number in range(90)))
    assert found.read()["user"].to_pylist() == [f"u{number}" for number in range(90)]
    assert list(found.lines([0, 89])) == [2, 2 + 89 * 50_001]


def test_a_quote_that_swallows_rows_is_found_whatever_ends_a_line(tmp_path: Path) -> None:
    for end in ("\n", "\r\n", "\r"):
        with pytest.raises(DataError, match=r"E172 log\.csv, line 2, .*closes 2 lines later"):
            source(tmp_path, f'user,item{end}1,"open{end}2,b{end}3,close"{end}').read()


# The delimiter.


def test_the_delimiter_is_the_one_that_splits_all_lines_alike(tmp_path: Path) -> None:
    content = "1::Toys (1995)::Animation|Comedy|Children|Toys\n2::Heat (1995)::Crime\n"
    found = source(tmp_path, content, columns=("user", "item", "note"))
    assert cells(found) == [["1", "Toys (1995)", "Animation|Comedy|Children|Toys"], ["2", "Heat (1995)", "Crime"]]


# Lines that are no rows.


@pytest.mark.parametrize(
    ("content", "expected", "lines"),
    [
        (b"user,item\nu1,a\0b\nu2,c\n", [["u2", "c"]], [(2, "a value has a NUL byte")]),
        (b"user,other,item\nu1,\0,a\n", [["u1", "a"]], []),
        (b"user,item\nu1,a\nuser,item\nu2,c\n", [["u1", "a"], ["u2", "c"]], [(3, "the line is the header again")]),
        (b"user, item\nu1,a\nuser, item\nu2,c\n", [["u1", "a"], ["u2", "c"]], [(3, "the line is the header again")]),
        (b"user,item\nu1,a\n\xef\xbb\xbfu2,c\n", [["u1", "a"]], [(3, "the line begins with a byte order mark")]),
        (b"user,item\nu1\nu2,c\nu3,d,e\n", [["u2", "c"]], [(2, "the row has 1 values where there are 2 columns"), (4, "the row has 3")]),
    ],
)
def test_a_line_that_is_no_row_is_told_by_its_number(content: bytes, expected: Cells, lines: list[tuple[int, str]], tmp_path: Path) -> None:
    found = source(tmp_path, content)
    assert cells(found) == expected
    assert [line for line, _ in malformed(found)] == [line for line, _ in lines]
    assert all(message.startswith(start) for (_, message), (_, start) in zip(malformed(found), lines, strict=True))
    bad = {line for line, _ in lines}
    assert list(found.lines(range(len(expected)))) == [line for line in range(2, content.count(b"\n") + 1) if line not in bad]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_ends(end: str, tmp_path: Path) -> None:
    found = source(tmp_path, end.join(["user,item", "u1,a", "", "u2,c"]))
    assert cells(found) == [["u1", "a"], ["u2", "c"]]
    assert list(found.lines([0, 1])) == [2, 4]


def test_mixed_line_ends(tmp_path: Path) -> None:
    found = source(tmp_path, "user,item\r\nu1,a\nu2,b\ru3,c\r\n")
    assert cells(found) == [["u1", "a"], ["u2", "b"], ["u3", "c"]]
    assert list(found.lines([0, 1, 2])) == [2, 3, 4]


@pytest.mark.parametrize(
    "content",
    [
        "user,item,\nu1,a,\nu2,c,\n",
        "user,item\nu1,a,\nu2,c,\n",
        "user,item,\nu1,a\nu2,c\n",
        "# exported on Monday, in time\n# by us\nuser,item\nu1,a\nu2,c\n",
        "#user,item\nu1,a\nu2,c\n",
        "# a, b, c\n# user,item\nu1,a\nu2,c\n",
        "\n\nuser,item\nu1,a\nu2,c\n",
        "user , item\nu1,a\nu2,c\n",
    ],
)
def test_what_surrounds_header_and_rows(content: str, tmp_path: Path) -> None:
    found = source(tmp_path, content)
    assert cells(found) == [["u1", "a"], ["u2", "c"]]
    assert malformed(found) == []
    assert list(found.lines([0, 1])) == [content.count("\n") - 1, content.count("\n")]


def test_a_row_that_begins_like_a_comment_is_a_row(tmp_path: Path) -> None:
    assert cells(source(tmp_path, "user,item\n#u1,a\nu2,c\n")) == [["#u1", "a"], ["u2", "c"]]
    found = source(tmp_path, "#u1,a\nu2,c\n# end\n", columns=("user", "item"))
    assert cells(found) == [["#u1", "a"], ["u2", "c"]]
    assert malformed(found) == [(3, "the row has 1 values where there are 2 columns")]


def test_comments_before_rows_without_a_header_are_left_out(tmp_path: Path) -> None:
    found = source(tmp_path, "# of today\n# by us\nu1,a\nu2,c\n", columns=("user", "item"))
    assert cells(found) == [["u1", "a"], ["u2", "c"]]
    assert malformed(found) == []
    assert list(found.lines([0, 1])) == [3, 4]


def test_a_first_row_without_values_is_a_row(tmp_path: Path) -> None:
    found = source(tmp_path, "\n\t\nu1\ta\n", columns=("user", "item"), delimiter="\t")
    assert cells(found) == [["", ""], ["u1", "a"]]
    assert list(found.lines([0, 1])) == [2, 3]


def test_a_wanted_column_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E173 log\.csv, line 1, column item"):
        source(tmp_path, "user,item,item\nu1,a,b\n")
    assert cells(source(tmp_path, "user,x,x,item\nu1,a,b,c\n")) == [["u1", "c"]]


# The first line.

HEADERLESS = {
    "0,2,view,2023-11-14T22:21:23Z\n0,9,view,2023-11-15T22:19:48Z\n": ["user_id", "item_id", "event_type", "event_time"],
    "0\t2\t1\t1700000483\n0\t9\t2\t1700086788\n": ["user_id", "item_id", "rating", "event_time"],
    "1700000483|u1|i1|purchase|big\n1700086788|u1|i2|view|small\n": ["event_time", "user_id", "item_id", "event_type", "column_5"],
}


@pytest.mark.parametrize("content", HEADERLESS)
def test_a_first_line_of_data_is_refused_with_the_columns_to_declare(content: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E179 log\.csv, line 1, value .*looks like data") as caught:
        source(tmp_path, content)
    found = re.fullmatch(r"Declare columns = (\[.*\])\.", caught.value.remedy)
    assert found is not None
    names = json.loads(found[1])
    assert names == HEADERLESS[content]
    assert len(read(tmp_path / "log.csv", names, ReadOptions(columns=tuple(names))).read()) == 2


@pytest.mark.parametrize(
    ("first", "rows", "expected"),
    [
        (["customer", "product"], [["u1", "a"], ["u2", "b"]], False),
        (["customer", "2023"], [["u1", "5"], ["u2", "6"]], True),
        (["customer", "2023"], [["1", "5"], ["2", "6"]], False),
        (["u1", "view"], [["u2", "view"]], True),
        (["", "ts"], [["0", "2023-01-01"]], False),
        (["", "2023-01-01"], [["0", "2023-01-02"]], True),
        (["customer"], [], False),
        (["1"], [], False),
    ],
)
def test_a_line_looks_like_data_by_those_below(first: list[str], rows: Cells, expected: bool) -> None:
    assert looks_like_data(first, rows) == expected


def test_names_are_suggested_once_each() -> None:
    assert suggest_columns([["1", "2", "3", "4", ""], ["5", "6", "7", "800", ""]]) == [
        "user_id",
        "item_id",
        "rating",
        "column_4",
        "column_5",
    ]


def test_a_header_is_data_only_if_declared(tmp_path: Path) -> None:
    content = "User,thing\nu1,a\n"
    with pytest.raises(DataError, match=r"E179 log\.csv, line 1, value 'User,thing': .* header = true"):
        source(tmp_path, content, columns=("user", "item"))
    assert cells(source(tmp_path, content, columns=("user", "item"), header=True)) == [["u1", "a"]]
    assert cells(source(tmp_path, content, columns=("user", "item"), header=False)) == [["User", "thing"], ["u1", "a"]]


values = st.text(st.sampled_from('ab"\\,;\t \n\r\0\ufeff#é'), max_size=4)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(st.lists(values, min_size=1, max_size=3).map(",".join), max_size=6).map("\n".join),
    quoting=st.sampled_from(["", "none"]),
)
def test_rows_that_are_read_and_lines_that_are_told_are_all_of_the_file(content: str, quoting: str, tmp_path: Path) -> None:
    try:
        found = source(tmp_path, "user,item\n" + content, quoting=quoting)
        rows = found.read()
    except DataError:
        return
    bad = list(found.malformed())
    lines = list(found.lines(range(len(rows))))
    assert sorted({*lines, *(one.line for one in bad)}) == sorted([*lines, *(one.line for one in bad)])
    if quoting:
        is_blank = [not line for line in re.split("\r\n|\r|\n", content)]
        assert len(rows) + len(bad) == is_blank.count(False)

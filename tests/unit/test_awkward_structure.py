"""Awkward files by their structure, as people have them: read whole, or refused by name with what reads them."""

import gzip
import json
import re
from pathlib import Path

import pytest

from lodestar.data.ingest import validate
from lodestar.data.readers.options import ReadOptions
from lodestar.data.readers.readers import read
from lodestar.errors import DataError

AWKWARD = Path(__file__).parents[2].parent / "shared" / "data" / "awkward"
pytestmark = pytest.mark.skipif(not AWKWARD.is_dir(), reason="the folder of awkward files is not here")
EVENTS = ("user_id", "item_id", "event_type", "event_time")


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("f06_dcolon.csv", 96),
        ("f19_utf16.csv", 96),
        ("f23_array.jsonl", 96),
        ("f24_pretty.jsonl", 96),
        ("f30_really_gz.csv", 96),
        ("f51_one_stray_quote_late.tsv", 480),
        ("m03_quote.tsv", 24),
        ("g01_spark_dir_named_parquet", 96),
    ],
)
def test_a_file_whose_form_is_sure_is_read_whole(name: str, rows: int) -> None:
    report = validate(str(AWKWARD / name)).tables["events"]
    assert (report.rows_in, report.rows_kept, report.dropped) == (rows, rows, {})


@pytest.mark.parametrize(("name", "lines"), [("f51_one_stray_quote_late.tsv", 480), ("m03_quote.tsv", 24)])
def test_quotes_that_are_text_are_said_or_declared(name: str, lines: int) -> None:
    assert any('quoting = "none"' in note for note in validate(str(AWKWARD / name)).tables["events"].notes)
    source = read(AWKWARD / name, EVENTS, ReadOptions(quoting="none"))
    assert (len(source.read()), source.notes) == (lines, ())


@pytest.mark.parametrize("name", ["f09_noheader.csv", "f10_noheader.tsv"])
def test_a_file_without_a_header_is_refused_with_columns_that_read_all_of_it(name: str) -> None:
    with pytest.raises(DataError, match=r"E179 .*line 1") as caught:
        validate(str(AWKWARD / name))
    found = re.search(r"^ *columns = (\[.*\])$", caught.value.remedy, re.MULTILINE)
    assert found is not None
    columns = tuple(json.loads(found[1]))
    source = read(AWKWARD / name, columns, ReadOptions(columns=columns))
    assert (len(source.read()), list(source.lines([0, 95]))) == (96, [1, 96])


@pytest.mark.parametrize(("name", "width", "rows"), [("ratings", 4, 96), ("movies", 3, 15), ("users", 5, 12)])
def test_files_with_two_colons_between_values(name: str, width: int, rows: int) -> None:
    columns = tuple(f"c{number}" for number in range(width))
    found = read(AWKWARD / "f08_ml1m" / f"{name}.dat", columns, ReadOptions(columns=columns, encoding="latin1")).read()
    assert len(found) == rows
    assert found["c1"][0].as_py() == {"ratings": "2", "movies": "Fílm 0 (1990)", "users": "F"}[name]


def test_python_dictionaries_are_refused_with_the_format_that_reads_them() -> None:
    path = AWKWARD / "d05_steam" / "steam_reviews.json.gz"
    with pytest.raises(DataError, match=r'E175 .*Python dictionaries.*Declare format = "python-literal"'):
        validate(str(path))
    found = read(path, ("username", "product_id"), ReadOptions(format="python-literal")).read()
    assert len(found) == len(gzip.decompress(path.read_bytes()).splitlines())

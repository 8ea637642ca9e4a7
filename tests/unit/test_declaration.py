"""Declarations of datasets: all faults are named at once, and files and columns that are not there."""

from pathlib import Path

import pytest

from lodestar import schema
from lodestar.data.declaration.parse import feedback_of, parse
from lodestar.data.ingest import append, ingest, validate
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError, UsageError
from lodestar.schema.feedback import BINARY
from tests.factories import declared_rows, write_files


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[", "no TOML"),
        ("time_zone = 1", "time_zone: 1 should be a valid string"),
        ("tiem_zone = 'UTC'", "tiem_zone: there is no such key; did you mean time_zone?"),
        ("[events]\nitm_id = 'a'", "events.itm_id: events have no such column, nor is it an option; did you mean item_id?"),
        ("event_type = 'vew'", "event_type: there is no event type 'vew'; did you mean view?"),
        ("event_types.a = 'vew'", "event_types.a: there is no event type 'vew'"),
        ("rating_scale = [5, 1]", "rating_scale: the lowest rating comes first"),
        ("[events]\nuser_id = {colum = 'x'}", "did you mean column?"),
        ("[events]\nuser_id = {column = 'x', constant = 'y'}", "column and constant are two sources"),
        ("feedback.positive = ['view']\nfeedback.negative = ['view']", "feedback.negative: view is positive too"),
        ("rating_scale = [0, 10]\nfeedback.rating_positive_from = 11", "feedback.rating_positive_from"),
        ("delimiter = '123456789'", "delimiter"),
        ("quoting = 'ab'", "quoting"),
        ("encoding = 'latin-x'", "encoding"),
        ("[events]\nevent_time = {column = 't', time_unit = 'sec'}", "time_unit: 'sec' should be"),
    ],
)
def test_a_faulty_declaration_is_refused_with_the_path_of_its_key(text: str, expected: str) -> None:
    with pytest.raises(DataError, match="E141") as caught:
        parse(text.encode())
    assert expected in str(caught.value)


def test_all_faults_of_a_declaration_come_at_once() -> None:
    with pytest.raises(DataError) as caught:
        parse(b"time_zone = 1\nevnts = 2\n[events]\nuser_id = {colum = 'x'}\nfiles = 3")
    for expected in ("time_zone: ", "evnts: ", "colum: ", "files"):
        assert expected in str(caught.value)


@pytest.mark.parametrize("pattern", ["../secret.csv", "/etc/passwd", "absent*.csv"])
def test_files_outside_the_folder_or_absent_are_refused(tmp_path: Path, pattern: str) -> None:
    write_files(tmp_path, {"secret.csv": "user_id\nu\n", "data/dataset.toml": f"[events]\nfiles = '{pattern}'"})
    with pytest.raises(DataError, match="E142"):
        declared_rows(tmp_path / "data", "events")


def test_a_column_that_the_file_lacks_is_named_with_the_nearest(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.csv": "user,item\nu,i\n", "dataset.toml": "[events]\nfiles = 'a.csv'\nuser_id = 'usr'\nitem_id = 'item'"})
    with pytest.raises(DataError, match=r"E143 a.csv, column usr: .*did you mean user\?"):
        declared_rows(tmp_path, "events")


def test_a_declaration_beside_the_data_is_found_and_its_change_is_not_overlooked(tmp_path: Path) -> None:
    events = "who,item_id,event_type,event_time\n" + "".join(f"u{n},i{n},view,2026-01-01T00:00:0{n}Z\n" for n in range(6))
    data = write_files(tmp_path / "data", {"log.csv": events, "dataset.toml": "[events]\nfiles = 'log.csv'\nuser_id = 'who'"})
    ingest(str(data), tmp_path / "tables")
    assert Tables(root=tmp_path / "tables").paths(schema.EVENTS)
    append(str(data / "dataset.toml"), tmp_path / "grown")
    assert append(str(data), tmp_path / "grown").known_files == 2
    (data / "dataset.toml").write_text("[events]\nfiles = 'log.csv'\nuser_id = 'item_id'")
    with pytest.raises(DataError, match="E145"):
        append(str(data), tmp_path / "grown")
    with pytest.raises(UsageError, match=r'events\.user_id = "who"'):
        validate(str(data), mapping={"user_id": "who"})


def test_a_protocol_that_counts_all_alike_is_one_line() -> None:
    assert feedback_of(parse(b"feedback.protocol = 'binary'")) == BINARY
    half_stars = feedback_of(parse(b"rating_scale = [0.5, 5]\nfeedback = { protocol = 'binary', consumption = 'repeat' }"))
    assert half_stars is not None
    assert (half_stars.rating_positive_from, half_stars.negative, half_stars.consumption) == (0.5, (), "repeat")

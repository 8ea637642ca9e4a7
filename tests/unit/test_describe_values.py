"""Describe forms of values: delimiters, headers, quotes, times, numbers and ratings, what is sure and what a person decides."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.describing import (
    EVENTS,
    HEADER,
    NUM_ROWS,
    PLAIN,
    candidates,
    decided,
    declare,
    declared_lines,
    described,
    ingested,
    log,
    triples,
)

MIDNIGHT = datetime(2023, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "::", "\x01", " "])
@pytest.mark.parametrize("quoting", ["minimal", "all"])
@pytest.mark.parametrize("has_header", [True, False])
def test_delimiters_headers_and_quotes(delimiter: str, quoting: str, has_header: bool, tmp_path: Path) -> None:
    if quoting == "all" and delimiter in {"::", " "}:
        pytest.skip("Python's csv writes one character between values")
    lines = PLAIN.splitlines() if has_header else PLAIN.splitlines()[1:]
    if quoting == "all":
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(csv.reader(lines))
        content = text.getvalue()
    else:
        content = "\n".join(line.replace(",", delimiter) for line in lines) + "\n"
    found = described(tmp_path, "log.txt", {"log.txt": content})
    text_, edits = decided(found.text)
    assert edits == (0 if has_header else 1)
    if not has_header:
        assert candidates(found.text) == ['columns = ["user_id", "item_id", "event_type", "event_time"]']
    assert triples(ingested(declare(tmp_path, text_))) == EVENTS


def utc(form: str) -> Callable[[datetime], str]:
    return lambda time: time.strftime(form)


def number(per_s: int, places: int = 0) -> Callable[[datetime], str]:
    return lambda time: f"{time.timestamp() * per_s:.{places}f}"


# What is written, the candidates of all decisions, and how precisely the time is kept.
TIMES: dict[str, tuple[Callable[[datetime], str], list[str], timedelta]] = {
    "iso": (datetime.isoformat, [], timedelta()),
    "seconds": (number(1), [], timedelta()),
    "milliseconds": (number(1_000), [], timedelta()),
    "microseconds": (number(1_000_000), [], timedelta()),
    "nanoseconds": (lambda time: f"{int(time.timestamp())}000000000", [], timedelta()),
    "decimal seconds": (number(1, 2), [], timedelta()),
    "no seconds": (utc("%Y-%m-%dT%H:%MZ"), [], timedelta(minutes=1)),
    "compact": (utc("%Y%m%dT%H%M%SZ"), [], timedelta()),
    "comma": (lambda time: time.strftime("%Y-%m-%dT%H:%M:%S,000Z").replace(",", "."), [], timedelta()),
    "server log": (utc("[%d/%b/%Y:%H:%M:%S +0000]"), [], timedelta()),
    "RFC 2822": (utc("%a %b %d %H:%M:%S +0000 %Y"), [], timedelta()),
    "HTTP": (utc("%a, %d %b %Y %H:%M:%S GMT"), [], timedelta()),
    "offset apart": (utc("%Y-%m-%d %H:%M:%S +0000"), [], timedelta()),
    "naive": (utc("%Y-%m-%d %H:%M:%S"), ['time_zone = "UTC"'], timedelta()),
    "dates": (utc("%Y-%m-%d"), ['time_zone = "UTC"'], timedelta(days=1)),
    "digits of a date": (utc("%Y%m%d"), ['time_zone = "UTC"'], timedelta(days=1)),
    "digits of a time": (utc("%Y%m%d%H%M%S"), ['time_zone = "UTC"'], timedelta()),
    "US": (utc("%m/%d/%Y %I:%M:%S %p"), ['time_zone = "UTC"'], timedelta()),
    "German": (utc("%d.%m.%Y %H:%M"), ['time_zone = "UTC"'], timedelta(minutes=1)),
    "short year": (
        utc("%d/%m/%y %H:%M:%S"),
        ['time_zone = "UTC"', 'time_format = "%d/%m/%y %H:%M:%S"', 'time_format = "%y/%m/%d %H:%M:%S"'],
        timedelta(),
    ),
    "month's name": (utc("%d %B %Y %H:%M:%S"), ['time_zone = "UTC"'], timedelta()),
    "month first": (utc("%b %d, %Y"), ['time_zone = "UTC"'], timedelta(days=1)),
    "slashes": (utc("%Y/%m/%d %H:%M:%S"), ['time_zone = "UTC"'], timedelta()),
}


@pytest.mark.parametrize("form", TIMES)
def test_times_of_every_form_are_read_and_no_zone_is_guessed(form: str, tmp_path: Path) -> None:
    write, expected, precision = TIMES[form]
    row = lambda user, item, time: f'{user},{item},view,"{write(time)}"'  # noqa: E731
    found = described(tmp_path, "log.csv", {"log.csv": log("user_id,item_id,event_type,when", row)})
    assert candidates(found.text) == expected
    times = [row["event_time"] for row in ingested(declare(tmp_path, decided(found.text)[0]))]
    assert times == [time - (time - MIDNIGHT) % precision if precision else time for _, _, time in EVENTS]


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y"])
def test_day_and_month_are_told_by_a_day_above_12_and_else_decided(form: str, tmp_path: Path) -> None:
    sure = log(HEADER, lambda user, item, time: f"{user},{item},view,{time.strftime(form)}")
    found = described(tmp_path, "log.csv", {"log.csv": sure})
    assert candidates(found.text) == ['time_zone = "UTC"']
    assert f'events.event_time = {{ column = "event_time", time_format = "{form}" }}' in declared_lines(found.text)
    either = log(HEADER, lambda user, item, time: f"{user},{item},view,{1 + time.day % 12:02}/{1 + time.hour % 12:02}/2023")
    found = described(tmp_path, "log.csv", {"log.csv": either})
    assert candidates(found.text) == ['time_zone = "UTC"', 'time_format = "%d/%m/%Y"', 'time_format = "%m/%d/%Y"']


def test_a_zone_that_the_columns_name_says_is_sure(tmp_path: Path) -> None:
    row = lambda user, item, time: f"{user},{item},view,{time:%Y-%m-%d %H:%M:%S}"  # noqa: E731
    found = described(tmp_path, "log.csv", {"log.csv": log("user_id,item_id,event_type,timestamp_utc", row)})
    assert found.num_decisions == 0
    assert triples(ingested(declare(tmp_path, found.text))) == EVENTS


def test_row_numbers_in_a_time_column_are_an_order(tmp_path: Path) -> None:
    rows = "".join(f"u{row % 7},i{row % 5},view,{row // 7}\n" for row in range(NUM_ROWS))
    found = described(tmp_path, "log.csv", {"log.csv": f"{HEADER}\n{rows}"})
    assert candidates(found.text) == ['order = "event_time"']
    assert "E112 log.csv, line 2, column event_time, value '0'" in found.text


def test_without_times_an_order_is_decided(tmp_path: Path) -> None:
    rows = "".join(f"u{row % 7},i{row % 5},{row},4\n" for row in range(NUM_ROWS))
    found = described(tmp_path, "log.csv", {"log.csv": f"user_id,item_id,seq,rating\n{rows}"})
    assert candidates(found.text) == ['order = "seq"', 'order = "row"']


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1.299,00 €", "3,50 €"], '{ column = "price", decimal = ",", thousands = "." }'),
        (["12,50", "3,1"], '{ column = "price", decimal = "," }'),
        (["$1,299.50", "$3.00"], '{ column = "price", decimal = ".", thousands = "," }'),
        (["1 299,50", "3,00"], '{ column = "price", decimal = ",", thousands = " " }'),
        (["1'299.50", "3.00"], """{ column = "price", decimal = ".", thousands = "'" }"""),
        (["USD 5", "USD 6.50"], '{ column = "price", decimal = "." }'),
        (["4.5", "3"], ""),
        (["free", "3.00"], ""),
        (["12,50", "12.50"], ""),
    ],
)
def test_numbers_in_other_forms(values: list[str], expected: str, tmp_path: Path) -> None:
    items = "item_id;price\n" + "".join(f"i{row};{values[row % len(values)]}\n" for row in range(9))
    found = described(tmp_path, "", {"events.csv": PLAIN, "items.csv": items})
    prices = [line for line in declared_lines(found.text) if line.startswith("items.price")]
    assert prices == ([f"items.price = {expected}"] if expected else [])


def test_a_comma_that_may_be_either_separator_is_not_guessed(tmp_path: Path) -> None:
    items = "item_id;price\n" + "".join(f"i{row};1,{row}00\n" for row in range(9))
    found = described(tmp_path, "", {"events.csv": PLAIN, "items.csv": items})
    assert not [line for line in declared_lines(found.text) if line.startswith("items.price")]
    assert '#items.price = { column = "price", decimal = ".", thousands = "," }' in found.text


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        (["1", "3", "5"], []),
        (["0", "7", "10"], ["rating_scale = [0, 10]"]),
        (["1", "7", "10"], ["rating_scale = [1, 10]", "rating_scale = [0, 10]"]),
        (["-1", "1"], ["rating_scale = [-1, 1]"]),
        (["0", "1"], ["rating_scale = [0, 1]"]),
        (["0", "3", "5"], ["rating_scale = [0, 5]"]),
        (["10", "65", "100"], ["rating_scale = [0, 100]"]),
        (["1", "2", "731"], ['event_type = "play"', "rating_scale = [0, 731]"]),
    ],
)
def test_a_rating_scale_is_decided_where_it_is_not_the_contracts(ratings: list[str], expected: list[str], tmp_path: Path) -> None:
    rows = "".join(f"{user},{item},{ratings[row % len(ratings)]},{time.isoformat()}\n" for row, (user, item, time) in enumerate(EVENTS))
    assert candidates(described(tmp_path, "log.csv", {"log.csv": f"user_id,item_id,stars,ts\n{rows}"}).text) == expected


def test_half_stars_are_a_scale_for_sure(tmp_path: Path) -> None:
    rows = "".join(f"{user},{item},{0.5 * (1 + row % 10)},{time.isoformat()}\n" for row, (user, item, time) in enumerate(EVENTS))
    found = described(tmp_path, "log.csv", {"log.csv": f"user_id,item_id,rating,ts\n{rows}"})
    assert "rating_scale = [0.5, 5]" in declared_lines(found.text)

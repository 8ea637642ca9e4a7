"""Events in random foreign forms: delimiters, names, ids, words for types, and times in every form and zone."""

import csv
import io
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from lodestar import schema
from lodestar.schema import aliases
from lodestar.schema.events import EventType

Row = tuple[str, str, str, datetime]
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
CLOCKS = ("%Y-%m-%d %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M", "%Y%m%d%H%M%S", "%d-%b-%Y %H:%M:%S")
DATES = ("%Y-%m-%d", "%Y%m%d", "%m/%d/%Y", "%d.%m.%Y")
DAY, MINUTE, SECOND = timedelta(days=1), timedelta(minutes=1), timedelta(seconds=1)


def _formatted(form: str) -> Callable[[datetime], str]:
    return lambda time: time.strftime(form)


# How a local time is written, with what precision, and whether a zone must be declared.
TIMES: dict[str, tuple[Callable[[datetime], str], timedelta, bool]] = {
    "%Y-%m-%dT%H:%M:%S%z": (datetime.isoformat, SECOND, False),
    "s": (lambda time: str(int(time.timestamp())), SECOND, False),
    "ms": (lambda time: str(int(time.timestamp()) * 1000), SECOND, False),
    "ns": (lambda time: str(int(time.timestamp()) * 10**9), SECOND, False),
    "s.f": (lambda time: f"{time.timestamp():.1f}", SECOND, False),
    "rfc": (lambda time: time.strftime("%a, %d %b %Y %H:%M:%S %z"), SECOND, False),
    **{
        form: (lambda time, form=form: time.strftime(form), MINUTE if "%S" not in form else SECOND, True)  # type: ignore[misc]
        for form in (
            "%Y-%m-%d %H:%M:%S",
            "%d/%m/%Y %H:%M:%S",
            "%m/%d/%Y %I:%M:%S %p",
            "%d.%m.%Y %H:%M",
            "%Y%m%d%H%M%S",
            "%d-%b-%Y %H:%M:%S",
        )
    },
    **{form: (lambda time, form=form: time.strftime(form), DAY, True) for form in ("%Y-%m-%d", "%Y%m%d", "%m/%d/%Y", "%d.%m.%Y")},  # type: ignore[misc]
}
TYPES = (EventType.VIEW, EventType.CLICK, EventType.LIKE, EventType.SHARE)
SYNONYMS = {
    kind: [str(kind), str(kind).upper(), *(word for word, meant in aliases.EVENT_TYPE_ALIASES.items() if meant is kind)] for kind in TYPES
}
IDS = (
    lambda number: f"u{number}",
    str,
    lambda number: f"{number:08x}-Ab",
    lambda number: f"name {number}@x.org",
    lambda number: f"Käufer{number}",
)
COLUMNS = (schema.USER_ID, schema.ITEM_ID, schema.EVENT_TYPE, schema.EVENT_TIME)


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """Events as somebody else writes them, and what a person would answer: the lines of a declaration by key."""

    content: str
    rows: list[Row]
    answers: Mapping[str, object]


def _name(draw: random.Random, ours: str) -> str:
    """One of the names that a column of events may have, in some spelling; none that says a zone."""
    name = draw.choice([name for name in aliases.names_of(schema.EVENTS, ours) if "utc" not in name])
    return draw.choice([name, name.upper(), name.title(), f"{name[:3]}_{name[3:]}".strip("_"), f"{name[:4]}-{name[4:]}".strip("-")])


def foreign(seed: int) -> Foreign:
    """Random events in a random form."""
    draw = random.Random(seed)
    delimiter, zone = draw.choice([",", "\t", ";", "|", "::"]), draw.choice(ZONES)
    form = draw.choice(list(TIMES))
    write, precision, is_local = TIMES[form]
    user_id, item_id = draw.choice(IDS), draw.choice(IDS)
    synonyms = {kind: draw.choice(words) for kind, words in SYNONYMS.items()}
    start = datetime(draw.randint(1980, 2020), draw.randint(1, 12), draw.randint(1, 28), 12, tzinfo=ZoneInfo(zone))
    lines, rows = list[list[str]](), list[Row]()
    for _ in range(draw.randint(12, 50)):
        time = (start + timedelta(days=draw.randint(0, 300), minutes=draw.randint(0, 600), seconds=draw.randint(0, 59))).replace(fold=1)
        kind = draw.choice(TYPES)
        row = (f"{user_id(draw.randint(0, 9))}", f"{item_id(draw.randint(10, 30))}")
        lines.append([*row, synonyms[kind], write(time)])
        local = time.replace(tzinfo=None)
        kept = local - (local - datetime(1970, 1, 1)) % precision
        rows.append((*row, str(kind), kept.replace(tzinfo=ZoneInfo(zone), fold=1).astimezone(UTC)))
    names = [_name(draw, ours) for ours in COLUMNS] if draw.random() < 0.8 else []
    order = draw.sample(range(4), 4) if names else [0, 1, *draw.sample([2, 3], 2)]
    table = [[line[place] for place in order] for line in ([names] if names else []) + lines]
    answers: dict[str, object] = {"columns": [COLUMNS[place] for place in order]} if not names else {}
    if is_local:
        answers["time_zone"] = zone
    answers["time_format"] = form
    answers["event_types"] = {text: str(kind) for kind, text in synonyms.items()}
    return Foreign(content=_delimited(table, delimiter, draw), rows=rows, answers=answers)


def _delimited(table: list[list[str]], delimiter: str, draw: random.Random) -> str:
    if len(delimiter) > 1:
        return "".join(delimiter.join(row) + "\n" for row in table)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), lineterminator="\n").writerows(table)
    return text.getvalue()

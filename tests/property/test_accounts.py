"""Nothing in silence, for random files: every row is kept or counted by a rule, and every cell is kept, blank or counted by a code."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from lodestar.data.ingest import ingest, validate
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError
from lodestar.schema.ids import NULL_TEXTS

TIME = "2025-06-01T12:00:00Z"
ODD = st.one_of(
    st.sampled_from(
        [*NULL_TEXTS, "", " ", "-1", "5.0", " 5", "1.23e+12", "1e400", "nan", "x" * 200, "2024-01-01", "0", "true", "[1", '{"a": 1}']
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_characters='",|'), max_size=4),
)
# Columns that every row has, with a good value, and columns that it may have.
NEEDED = {"user_id": "u1", "item_id": "i1", "event_type": "view", "event_time": TIME}
OPTIONAL = {
    "value": "1.5",
    "position": "1",
    "rating": "4",
    "device": "phone",
    "session_id": "s1",
    "attrs": '{"a": "b"}',
    "query_text": "red",
}


def is_number(text: str) -> bool:
    """Whether a rating may be one on another scale, which is asked for before any row is read."""
    try:
        float(text)
    except ValueError:
        return False
    return True


@st.composite
def files(draw: st.DrawFn) -> tuple[list[str], list[dict[str, str]]]:
    """The columns of a file, and its rows: six good ones and some with odd cells."""
    columns = [*NEEDED, *draw(st.lists(st.sampled_from(sorted(OPTIONAL)), unique=True))]
    good = NEEDED | OPTIONAL
    rows = [{**{name: good[name] for name in columns}, "user_id": f"u{user}"} for user in range(6)]
    for number in range(draw(st.integers(1, 8))):
        row = {**{name: good[name] for name in columns}, "user_id": f"v{number}"}
        for column in draw(st.lists(st.sampled_from(columns), min_size=1, max_size=3, unique=True)):
            row[column] = draw(ODD.filter(lambda text: not is_number(text)) if column == "rating" else ODD)
        rows.append(row)
    return columns, rows


def write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    lines = [",".join('"' + row[name].replace('"', '""') + '"' for name in columns) for row in rows]
    path.write_text("\n".join((",".join(columns), *lines)) + "\n")


@settings(max_examples=40)
@given(file=files())
def test_every_row_and_every_cell_is_kept_or_counted(file: tuple[list[str], list[dict[str, str]]]) -> None:
    columns, rows = file
    with TemporaryDirectory() as folder:
        path, out = Path(folder, "events.csv"), Path(folder, "out")
        write(path, columns, rows)
        report = ingest(str(path), out, quarantine=True)
        events, kept = report.tables["events"], Tables(root=out).events(columns)
    assert events.rows_in == len(rows) == events.rows_kept + sum(events.dropped.values())
    assert kept.num_rows == events.rows_kept
    aside = Counter(int(place.split("line ")[1].split(",")[0]) for places in events.offenders.values() for place in places)
    if sum(aside.values()) < sum(events.dropped.values()):
        return  # the report shows the first few places of each code only
    counted = Counter({one.column: 0 for one in report.findings})
    for one in report.findings:
        if one.places and one.code not in {"E116", "E126"}:
            counted[one.column] += one.count
    good = [row for line, row in enumerate(rows, start=2) if line not in aside]
    assert all(kept[name].null_count == 0 for name in NEEDED)
    for name in columns:
        if name in OPTIONAL:
            filled = sum(row[name].strip() != "" for row in good)
            assert kept.num_rows - kept[name].null_count + counted[name] == filled, name


@settings(max_examples=20)
@given(file=files())
def test_a_file_is_refused_for_what_a_quarantine_would_set_aside(file: tuple[list[str], list[dict[str, str]]]) -> None:
    columns, rows = file
    with TemporaryDirectory() as folder:
        path = Path(folder, "events.csv")
        write(path, columns, rows)
        dropped = set(validate(str(path), quarantine=True).tables["events"].dropped) - {"E123", "identical duplicate"}
        try:
            validate(str(path))
            refused: set[str] = set()
        except DataError as error:
            refused = {one.code for one in getattr(error, "findings", (error,))}
    assert refused == dropped

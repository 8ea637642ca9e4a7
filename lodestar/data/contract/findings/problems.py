"""Problems of a table's files in one answer: the first row error of each kind, with the number of its rows."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from lodestar import schema
from lodestar.data.contract import row_errors, rules
from lodestar.data.contract.findings.findings import counted
from lodestar.data.contract.row_validator import parse_fault
from lodestar.errors import DataError

SHOWN_TEXTS = 20
LEFT_OUT = frozenset({rules.NO_RATING})  # rows with these codes are left out and counted, and stop nothing


class Kind(NamedTuple):
    """A kind of row error: its code and column; malformed lines have none."""

    code: str
    column: str


def kinds(table: schema.Table, errors: Iterable[DataError], counts: Counter[str]) -> list[DataError]:
    """The first error of each kind, in their order, each with the number of rows and the texts that stand for null.

    `counts` is the number of rows by fault; `errors` has at least the first of each, and all of those that `counts` does not have.
    """
    firsts: dict[Kind, DataError] = {}
    seen: Counter[Kind] = Counter()
    for error in errors:
        if error.code not in LEFT_OUT:
            kind = Kind(error.code, (error.place and error.place.column) or "")
            firsts.setdefault(kind, error)
            seen[kind] += 1
    by_kind: Counter[Kind] = Counter()
    texts: dict[Kind, Counter[str]] = {}
    for written, count in counts.items():
        fault = parse_fault(written)
        kind = Kind(fault.code, fault.column)
        by_kind[kind] += count
        if fault.text:
            texts.setdefault(kind, Counter())[fault.text] += count
    return [_with_count(error, max(seen[kind], by_kind[kind]), texts.get(kind, Counter())) for kind, error in firsts.items()]


def _with_count(error: DataError, count: int, texts: Counter[str]) -> DataError:
    """The error with the number of its rows, where there are several, and of each text that stands for null or is no event type."""
    if count == 1:
        return error
    rows = f", in {count:,} rows"
    stands = f": {counted(dict(texts.most_common(SHOWN_TEXTS)))}" if texts else ""
    more = f" and {len(texts) - SHOWN_TEXTS:,} more" if len(texts) > SHOWN_TEXTS else ""
    remedy = error.remedy
    if error.code == rules.UNKNOWN_TYPE:
        remedy = row_errors.with_quarantine(row_errors.event_types_remedy([text for text, _ in texts.most_common()]))
    return DataError(error.code, f"{error.message.removesuffix('?')}{rows}{stands}{more}", remedy=remedy, place=error.place)

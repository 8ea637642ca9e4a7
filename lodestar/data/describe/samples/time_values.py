"""How the values of a column can be read as times: units since 1970, formats of strptime, and whether they have a zone.

Every reading is tried on all values by DuckDB, which reads the declared ones as well. The order of day and month is sure where only one of
the two reads all values; a zone that is not written is never guessed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pyarrow as pa

from lodestar.data.contract import rules
from lodestar.data.declaration.forms import literal
from lodestar.data.describe.samples.values import MOST, Values

YEARS = (1900, 2100)
SMALL = 10**8  # seconds until March 1973: a smaller number is a row number, a year or a filler
_UNITS = (("s", SMALL, 10**11), ("ms", 10**11, 10**14), ("us", 10**14, 10**17), ("ns", 10**17, 10**19))
_SECOND = 10**9
_ZONED = ("%z", "%Z")
_MONTH = r"[A-Za-z]{3,9}\.?"
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?P<second>:\d\d)?(?P<fraction>[.,]\d{1,9})?(?P<half>\s?[AaPp]\.?[Mm]\.?)?"
_ZONE = r"(?P<zone>\s?(?:Z|UTC|GMT|[+-]\d\d:?(?:\d\d)?|[A-Z]{3,4}|[A-Z][A-Za-z]+/[A-Za-z_]+))?"
_DATES = (
    r"(?P<year_first>\d{4})(?P<sep>[-/. ])\d{1,2}(?P=sep)\d{1,2}",
    r"\d{1,2}(?P<sep>[-/. ])\d{1,2}(?P=sep)(?P<year_last>\d{4}|\d{2})",
    rf"\d{{1,2}}(?P<sep>[-/ ])(?P<month_second>{_MONTH})(?P=sep)(?P<year_last>\d{{4}}|\d{{2}})",
    rf"(?P<month_first>{_MONTH})(?P<sep> )\s?\d{{1,2}}(?P<comma>,?) (?P<year_last>\d{{4}})",
    r"(?P<compact>\d{8})",
)
_JOINT = r"(?P<joint>T|,? | at |:|)"
_LIKE = tuple(re.compile(rf"(?P<open>\[?)(?P<day>[A-Za-z]{{3,9}},? )?{date}(?:{_JOINT}{_CLOCK}{_ZONE})?(?P<close>\]?)") for date in _DATES)
_COMPACT_CLOCK = re.compile(r"\d{8}T?\d{4}(?:\d\d)?Z?")
_CTIME = re.compile(rf"[A-Za-z]{{3,9}} (?P<month>{_MONTH}) +\d{{1,2}} {_CLOCK}(?P<zone> (?:[+-]\d{{4}}|[A-Z]{{3,4}}))? \d{{4}}")


@dataclass(frozen=True, kw_only=True)
class TimeReading:
    """A way to read a column's times: `unit` of numbers since 1970, or `form` of strptime; without both ISO 8601, as the contract has it.

    `zone` is the one that is written; `needs_zone`: none is. `share` is that of the values which are read so; `others` are forms that read
    as many, otherwise. `is_order`: the numbers are too small for times.
    """

    share: float
    unit: str = ""
    form: str = ""
    zone: str = ""
    needs_zone: bool = False
    others: tuple[str, ...] = ()
    is_order: bool = False
    is_date: bool = False

    @property
    def is_sure(self) -> bool:
        """Whether nothing is left to decide but a zone."""
        return not self.others and not self.is_order


def read_times(database: Any, values: Values) -> TimeReading | None:
    """The way to read most of a column's values as times, None where there is none."""
    meant = values.meant
    if not meant.count:
        return None
    found = _iso(meant) or _numbers(database, meant) or _formatted(database, meant)
    return found if found and found.share >= MOST else None


def _iso(values: Values) -> TimeReading | None:
    aware, naive = values.share(rules.AWARE_TIME), values.share(rules.NAIVE_TIME)
    if aware + naive < MOST:
        return None
    return TimeReading(share=aware + naive, needs_zone=naive >= aware, is_date=values.share(r"\d{4}-\d\d-\d\d") >= MOST)


def _numbers(database: Any, values: Values) -> TimeReading | None:
    """Numbers: dates and years in digits, units since 1970, or numbers of an order."""
    share = values.share(rf"{rules.NUMBER}")
    if share < MOST:
        return None
    for pattern, form in (
        (r"(19|20)\d{12}", "%Y%m%d%H%M%S"),
        (r"(19|20)\d{10}", "%Y%m%d%H%M"),
        (r"(19|20)\d{6}", "%Y%m%d"),
        (r"(19|20)\d\d", "%Y"),
    ):
        if values.share(pattern) >= MOST and _shares(database, values, [form])[0] >= MOST:
            is_date = len(form) <= len("%Y%m%d")
            unit = "date" if form == "%Y%m%d" else ""
            return TimeReading(share=share, form="" if unit else form, unit=unit, needs_zone=True, is_date=is_date)
    sizes = abs(values.numbers)
    by_unit = {unit: float(((sizes >= low) & (sizes < high)).mean()) for unit, low, high in _UNITS}
    unit = max(by_unit, key=lambda one: by_unit[one])
    if by_unit[unit] >= MOST:
        return TimeReading(share=by_unit[unit], unit=unit)
    is_small = float((sizes < SMALL).mean())
    is_whole = values.share(r"\d{1,9}(\.0+)?") >= MOST
    return TimeReading(share=is_small, is_order=True) if is_small >= MOST and is_whole else None


def _formatted(database: Any, values: Values) -> TimeReading | None:
    """The form of strptime that reads the most values."""
    forms = list(dict.fromkeys(form for example in values.examples[:3] for form in _forms(example)))
    if not forms:
        return None
    shares = _shares(database, values, forms)
    best = max(shares)
    if best < MOST:
        return None
    fitting = [form for form, share in zip(forms, shares, strict=True) if share == best]
    first, *others = _distinct_readings(database, values, fitting)
    zone = "UTC" if re.search(r"(Z|UTC|GMT)\]?$", first) and not any(one in first for one in _ZONED) else ""
    needs_zone = not zone and not any(one in first for one in _ZONED)
    return TimeReading(
        share=best, form=first, zone=zone, needs_zone=needs_zone, others=tuple(others), is_date="%H" not in first and "%I" not in first
    )


def _shares(database: Any, values: Values, forms: Sequence[str]) -> list[float]:
    """Share of the values that each form reads."""
    database.register("time values", pa.table({"value": values.texts, "count": pa.array(values.counts)}))
    sums = ", ".join(f"sum(count) FILTER (TRY_STRPTIME(value, {literal(form)}) IS NOT NULL)" for form in forms)
    found = database.execute(f'SELECT {sums} FROM "time values"').fetchone()
    database.unregister("time values")
    total = values.counts.sum()
    return [float((one or 0) / total) for one in found]


def _distinct_readings(database: Any, values: Values, forms: Sequence[str]) -> list[str]:
    """The forms, without those that read every value as an earlier one does."""
    database.register("time values", pa.table({"value": values.texts}))
    found: list[str] = []
    for form in forms:
        same = " OR ".join(
            f"bool_and(TRY_STRPTIME(value, {literal(form)}) IS NOT DISTINCT FROM TRY_STRPTIME(value, {literal(one)}))"
            for one in found
            if _is_zoned(one) == _is_zoned(form)
        )
        if not same or not database.execute(f'SELECT {same} FROM "time values"').fetchone()[0]:
            found.append(form)
    database.unregister("time values")
    return found


def _is_zoned(form: str) -> bool:
    return any(one in form for one in _ZONED)


def _forms(example: str) -> Iterator[str]:
    """Forms of strptime that may read a text."""
    if _COMPACT_CLOCK.fullmatch(example):
        digits = example.replace("T", "").removesuffix("Z")
        clock = "%H%M%S" if len(digits) == len("20231114222123") else "%H%M"
        yield f"%Y%m%d{'T' if 'T' in example else ''}{clock}{'Z' if example.endswith('Z') else ''}"
    if found := _CTIME.fullmatch(example):
        zone = "" if not found["zone"] else " %z" if found["zone"][1] in "+-" else " %Z"
        for day, month in product(("%a", "%A"), ("%b", "%B")):
            yield f"{day} {month} %d {_clock(found)}{zone} %Y"
    for like in _LIKE:
        if found := like.fullmatch(example):
            days = _weekdays(found["day"])
            clock = f"{found['joint']}{_clock(found)}{_zone(found['zone'] or '')}" if found["hour"] else ""
            yield from (f"{found['open']}{day}{date}{clock}{found['close']}" for day in days for date in _dates(found))


def _weekdays(day: str | None) -> tuple[str, ...]:
    if not day:
        return ("",)
    comma = "," if "," in day else ""
    return (f"%a{comma} ", f"%A{comma} ")


def _dates(found: "re.Match[str]") -> Iterator[str]:
    parts = found.groupdict()
    sep, year = parts.get("sep") or "", "%y" if len(parts.get("year_last") or "") == 2 else "%Y"
    if parts.get("compact"):
        yield "%Y%m%d"
    elif parts.get("year_first"):
        yield f"%Y{sep}%m{sep}%d"
    elif parts.get("month_first"):
        dot = "." if parts["month_first"].endswith(".") else ""
        yield from (f"{month}{dot} %d{parts['comma']} %Y" for month in ("%b", "%B"))
    elif parts.get("month_second"):
        yield from (f"%d{sep}{month}{sep}{year}" for month in ("%b", "%B"))
    else:
        yield from (f"%d{sep}%m{sep}{year}", f"%m{sep}%d{sep}{year}")
        if year == "%y":
            yield f"%y{sep}%m{sep}%d"


def _clock(found: "re.Match[str]") -> str:
    fraction = found["fraction"] or ""
    digits = "" if not fraction else fraction[0] + ("%n" if len(fraction) > 7 else "%f")
    half = found["half"] or ""
    hour = "%I" if half else "%H"
    return f"{hour}:%M{':%S' if found['second'] else ''}{digits}{(' ' if half[:1] == ' ' else '') + '%p' if half else ''}"


def _zone(written: str) -> str:
    """The zone of a form: an offset, a name, or a literal for UTC."""
    space, name = (" " if written.startswith(" ") else ""), written.strip()
    if not name:
        return ""
    if name in {"Z", "UTC", "GMT"}:
        return space + name
    return space + ("%z" if name[0] in "+-" else "%Z")

"""How the values of a column can be read as numbers, with which decimal and thousands separators, and on which scale ratings lie."""

import re
from dataclasses import dataclass

import numpy as np

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.data.describe.samples.values import MOST, Values

# As the declared form of numbers strips them: signs of currencies and percent, and ISO 4217 codes.
_SIGNS = r"(?:[A-Z]{3}\s*|[$€£¥₹₽₩₺]\s*)?"
_ENDS = r"(?:\s*[A-Z]{3}|\s*[$€£¥₹₽₩₺%])?"
_SPACES = "[ \u00a0\u202f]"
# Decimal and thousands separators, and what numbers written so look like.
_FORMS = (
    ("", "", rules.NUMBER),
    (".", "", rf"{_SIGNS}[+-]?\d+(?:\.\d+)?{_ENDS}"),
    (".", ",", rf"{_SIGNS}[+-]?\d{{1,3}}(?:,\d{{3}})*(?:\.\d+)?{_ENDS}"),
    (",", ".", rf"{_SIGNS}[+-]?(?:\d{{1,3}}(?:\.\d{{3}})*|\d+)(?:,\d+)?{_ENDS}"),
    (",", " ", rf"{_SIGNS}[+-]?(?:\d{{1,3}}(?:{_SPACES}\d{{3}})*|\d+)(?:,\d+)?{_ENDS}"),
    (".", "'", rf"{_SIGNS}[+-]?\d{{1,3}}(?:'\d{{3}})*(?:\.\d+)?{_ENDS}"),
    (".", " ", rf"{_SIGNS}[+-]?\d{{1,3}}(?:{_SPACES}\d{{3}})*(?:\.\d+)?{_ENDS}"),
)
_EITHER = re.compile(rf"{_SIGNS}[+-]?\d{{1,3}}[,.]\d{{3}}{_ENDS}")  # 1,299 may be 1299 or 1.299
COUNTS_FROM = 100  # a rating on a larger scale is rather a count


@dataclass(frozen=True, kw_only=True)
class NumberReading:
    """A way to read a column's numbers: separators as a declaration has them, both empty for plain numbers; `others` read as many."""

    share: float
    decimal: str = ""
    thousands: str = ""
    others: tuple[tuple[str, str], ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the contract reads these numbers as they are."""
        return not self.decimal


def read_numbers(values: Values) -> NumberReading | None:
    """The way to read most of a column's values as numbers, None where there is none; `others` where a comma may be either separator."""
    meant = values.meant
    if not meant.count:
        return None
    shares = {(decimal, thousands): meant.share(pattern) for decimal, thousands, pattern in _FORMS}
    if shares["", ""] >= MOST:
        return NumberReading(share=shares["", ""])
    best = max(shares.values())
    fitting = [form for form, share in shares.items() if share == best]
    first = fitting[0]
    if best < MOST or _has_other_numbers(meant, dict(zip(shares, (one[2] for one in _FORMS), strict=True))[first]):
        return None
    marked = [text for text in meant.examples if re.search(r"\d[,.]\d", text)]
    is_ambiguous = (",", ".") in fitting and (".", ",") in fitting and marked and all(map(_EITHER.fullmatch, marked))
    others = ((",", "."),) if is_ambiguous and first != (",", ".") else ()
    thousands = first[1] if any(re.search(rf"\d{re.escape(first[1])}\d{{3}}", text) for text in meant.examples) else ""
    return NumberReading(share=best, decimal=first[0], thousands=thousands, others=others)


def _has_other_numbers(values: Values, pattern: str) -> bool:
    """Whether some value with a digit has another form, which would be read as another number."""
    like = re.compile(pattern)
    return any(not like.fullmatch(text) and re.search(r"\d", text) for text in values.examples)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A scale on which ratings may lie, with what speaks for it; `is_count`: they are rather numbers of plays or visits."""

    low: float
    high: float
    reason: str
    is_sure: bool = False
    is_count: bool = False


_OWN = schema.RATING_SCALE
_USUAL = ((0.0, 1.0), (0.0, 5.0), (1.0, 7.0), (1.0, 10.0), (0.0, 10.0), (0.0, 20.0), (0.0, 100.0))


def scales(numbers: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> list[Scale]:
    """Scales on which distinct ratings may lie, the likeliest first; empty for those on the contract's own scale, from 1 to 5."""
    if not len(numbers):
        return []
    low, high = float(numbers.min()), float(numbers.max())
    seen = f"the ratings lie between {low:g} and {high:g}"
    is_half = bool(np.all(np.mod(numbers * 2, 1) == 0)) and bool(np.any(np.mod(numbers, 1)))
    if is_half and low == _OWN[0] / 2 and high <= _OWN[1]:
        return [Scale(low=low, high=_OWN[1], reason=f"{seen} in steps of a half", is_sure=True)]
    if low >= _OWN[0] and high <= _OWN[1]:
        return []
    if low < 0:
        reach = max(-low, high)
        return [Scale(low=-reach, high=reach, reason=seen)]
    if high > COUNTS_FROM:
        return [Scale(low=0, high=high, reason=f"{seen}, as counts do", is_count=True)]
    found = [one for one in _USUAL if one[0] <= low and high <= one[1]]
    tightest = min(one[1] for one in found)
    return [Scale(low=one[0], high=one[1], reason=seen) for one in found if one[1] == tightest]

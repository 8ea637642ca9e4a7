"""Values of a sample's column: the distinct ones with their counts, trimmed, and what share of them has a form."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lodestar.data.contract import rules

MAX_DISTINCT = 5_000
# Texts that stand for no value; -1 and 0 may be values.
NULL_TEXTS = frozenset(
    (
        *("null", "none", "nil", "nan", "na", "n/a", "#n/a", "<na>", "undefined", "unknown", "(null)", "(none)", "missing", "\\n"),
        *("not set", "(not set)", "not provided", "(not provided)", "not available", "-", "—", "–", "?"),
    )
)
MOST = 0.95  # share of values from which on a column has a form: a few may be broken
INTEGER = r"[+-]?\d{1,19}"
FLOAT_ID = r"[+-]?\d{1,19}\.0+"
JSON_VALUE = r"\s*[\[{].*[\]}]\s*"


@dataclass(frozen=True, kw_only=True)
class Values:
    """The values of a column: `texts` are distinct ones with their `counts`, the most frequent and others from all over the sample.

    `count` is the number of all values that are not blank, `num_distinct` that of all distinct ones, `first` the first row's.
    """

    name: str
    texts: pa.Array
    counts: "NDArray[np.int64]"
    count: int
    num_distinct: int
    first: str

    @classmethod
    def of(cls, name: str, column: "pa.ChunkedArray") -> "Values":
        """The values of a column of texts, trimmed."""
        trimmed = pc.utf8_trim_whitespace(column)
        full = trimmed.filter(pc.and_kleene(pc.is_valid(trimmed), pc.not_equal(trimmed, "")))
        counted = pc.value_counts(full)
        texts, counts = counted.field(0), counted.field(1).to_numpy(zero_copy_only=False)
        by_count = np.argsort(-counts, kind="stable")
        frequent, others = by_count[: MAX_DISTINCT // 2], np.sort(by_count[MAX_DISTINCT // 2 :])
        order = np.concatenate([frequent, others[:: max(1, -(-2 * len(others) // MAX_DISTINCT))]])
        first = texts[0].as_py() if len(texts) else ""  # values come in the order of the rows
        return cls(
            name=name, texts=texts.take(pa.array(order)), counts=counts[order], count=len(full), num_distinct=len(texts), first=first
        )

    @property
    def is_cut(self) -> bool:
        """Whether there are more distinct values than `texts` has."""
        return self.num_distinct > len(self.texts)

    @cached_property
    def examples(self) -> list[str]:
        """The distinct values as Python's."""
        return list(self.texts.to_pylist())

    @cached_property
    def _is_null(self) -> "pa.Array":
        return pc.is_in(pc.utf8_lower(self.texts), value_set=pa.array(sorted(NULL_TEXTS)))

    @cached_property
    def meant(self) -> "Values":
        """The values without those that stand for none."""
        if not pc.any(self._is_null).as_py():
            return self
        is_kept = pc.invert(self._is_null)
        texts, counts = self.texts.filter(is_kept), self.counts[is_kept.to_numpy(zero_copy_only=False)]
        first = self.first if self.first.casefold() not in NULL_TEXTS else next(iter(texts.to_pylist()), "")
        num_null = len(self.texts) - len(texts)
        count = self.count - int(self.counts.sum() - counts.sum())
        return replace(self, texts=texts, counts=counts, count=count, num_distinct=self.num_distinct - num_null, first=first)

    @property
    def null_texts(self) -> list[str]:
        """The texts that stand for no value, as they are written."""
        return list(self.texts.filter(self._is_null).to_pylist())

    def share(self, pattern: str) -> float:
        """Share of the rows' values that match a pattern as a whole; 0 without a value."""
        return self.share_of(pc.match_substring_regex(self.texts, f"^(?:{pattern})$"))

    def share_of(self, flags: "pa.Array") -> float:
        """Share of the rows' values whose flag is true, [distinct values]."""
        total = self.counts.sum()
        return float(self.counts[flags.to_numpy(zero_copy_only=False).astype(bool)].sum() / total) if total else 0.0

    def share_among(self, texts: Collection[str]) -> float:
        """Share of the rows' values that are among some texts."""
        return self.share_of(pc.is_in(self.texts, value_set=pa.array(list(texts), pa.string())))

    @cached_property
    def numbers(self) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """The numbers among the distinct values."""
        is_number = pc.match_substring_regex(self.texts, f"^(?:{rules.NUMBER})$")
        return np.asarray(pc.cast(self.texts.filter(is_number), pa.float64()).to_numpy(zero_copy_only=False))

    @property
    def is_unique(self) -> bool:
        """Whether no value comes twice."""
        return self.count > 0 and self.num_distinct == self.count

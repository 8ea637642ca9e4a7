"""Rows of a declared source: their numbers, which of them are kept and why the others are not, and the lines that they come from."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar.data.declaration.expressions import ROW, maps_as_text
from lodestar.data.declaration.projection import DROPPED
from lodestar.data.readers.source import Source

EMPTY_LIST = "the list of the row is empty"


class KeptRows:
    """What reading a source found: reasons and counts of rows left out, and the file's row of each row that is kept.

    `passed` are the file's columns that went on as they are, by contract column; `ends` the row numbers where files end.
    """

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self.passed: Mapping[str, str] = {}
        self.ends: list[int] = []
        self._rows: list[NDArray[np.int64]] = []

    def clear(self) -> None:
        """Forget what an earlier reading found."""
        self.left_out.clear()
        self.ends.clear()
        self._rows.clear()

    def keep(self, rows: "pa.Table", rows_before: int | None) -> "pa.Table":
        """The kept rows of a projected batch, without the columns of the projection; `rows_before` is their number before an explosion."""
        numbers, dropped = rows[ROW].to_numpy(), rows[DROPPED]
        if rows_before is not None:
            self.left_out[EMPTY_LIST] += rows_before - len(np.unique(numbers))
        is_kept = dropped.is_null().to_numpy() if dropped.null_count < len(rows) else np.ones(len(rows), np.bool_)
        if not is_kept.all():
            for reason in dropped.filter(pa.array(~is_kept)).value_counts():
                self.left_out[reason["values"].as_py()] += reason["counts"].as_py()
            rows, numbers = rows.filter(pa.array(is_kept)), numbers[is_kept]
        self._rows.append(numbers.astype(np.int64))
        self.left_out += Counter()  # reasons without a row are none
        return rows.drop_columns([ROW, DROPPED])

    def lines(self, lines: Callable[[Iterable[int]], Iterable[int]], rows: Iterable[int]) -> Iterator[int]:
        """The line of each row, in ascending order of the rows; several rows may come from one line."""
        numbers = np.concatenate(self._rows)[list(rows)] if self._rows else np.zeros(0, np.int64)
        distinct, index = np.unique(numbers, return_inverse=True)
        found = list(lines(distinct.tolist()))
        return (found[place] for place in index.tolist())


def numbered(batches: Iterable["pa.Table"], start: int = 0) -> Iterator["pa.Table"]:
    """Batches with the numbers of their rows, and maps as text."""
    for batch in map(maps_as_text, batches):
        yield batch.append_column(ROW, pa.array(np.arange(start, start + len(batch))))
        start += len(batch)


def chained_lines(raw: Sequence[Source], ends: Sequence[int]) -> Callable[[Iterable[int]], Iterator[int]]:
    """Line numbers of rows that are numbered across several files: of each within its own."""

    def lines(rows: Iterable[int]) -> Iterator[int]:
        numbers = list(rows)
        for source, start, end in zip(raw, [0, *ends], ends, strict=False):
            yield from source.lines([number - start for number in numbers if start <= number < end])

    return lines

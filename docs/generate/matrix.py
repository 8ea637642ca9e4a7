"""Picture of all imports between rooms as a matrix: a row imports its columns, and nothing lies below the diagonal."""

from collections.abc import Iterable, Sequence

from docs.generate.architecture import svg
from docs.generate.imports import EDGES, Imports, imports, levels

CELL, LEFT, TOP, MARGIN = 33, 128, 108, 16


def picture() -> str:
    """The matrix as SVG, for light and dark pages."""
    edges = imports()
    height_of = levels(edges)
    names = sorted(height_of, key=lambda name: (-height_of[name], name))
    width, height = LEFT + CELL * len(names) + MARGIN, TOP + CELL * len(names) + MARGIN
    title = "Imports between the rooms of Lodestar: how many files of a row's room import the column's"
    return svg((width, height), title, [*_headings(names), *_cells(names, edges)])


def _headings(names: Sequence[str]) -> Iterable[str]:
    for index, name in enumerate(names):
        middle = CELL * index + CELL / 2
        yield f'<text class="label-text" x="{LEFT - 10}" y="{TOP + middle + 4:g}" text-anchor="end">{name}</text>'
        yield f'<text class="label-text" transform="translate({LEFT + middle + 4:g} {TOP - 10}) rotate(-60)">{name}</text>'


def _cells(names: Sequence[str], edges: Imports) -> Iterable[str]:
    """A square for each pair of rooms, darker with more files, with their number; the diagonal is grey."""
    for row, one in enumerate(names):
        for column, other in enumerate(names):
            x, y, count = LEFT + CELL * column, TOP + CELL * row, edges.get((one, other), 0)
            kind = "inner" if row == column else "edge" if one in EDGES and count else "room" if count else "empty"
            yield f'<rect class="{kind}" x="{x + 1}" y="{y + 1}" width="{CELL - 2}" height="{CELL - 2}" rx="4"/>'
            if count:
                yield f'<text class="count" x="{x + CELL / 2:g}" y="{y + CELL / 2 + 4:g}" text-anchor="middle">{count}</text>'

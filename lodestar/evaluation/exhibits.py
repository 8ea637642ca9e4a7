"""What a reader is shown beside the figures: how learning went, whose items are shown, and a few lists as they are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.bundle import COST
from lodestar.catalogue import Catalogue
from lodestar.data.splits import Cases
from lodestar.errors import shorten
from lodestar.evaluation.metrics import NOBODY, Ranking

Values = NDArray[np.float64]
EPOCHS = "epochs.jsonl"
NUM_EXAMPLES, RECENT, SHOWN = 3, 5, 5
LONGEST_TITLE = 90
TAIL_POINTS = 101


@dataclass(frozen=True, kw_only=True)
class Place:
    """One place of a list; `is_taken` where the user took it next."""

    title: str
    is_taken: bool


@dataclass(frozen=True, kw_only=True)
class Example:
    """Someone's latest items, what was recommended then, what was taken, and at which place (from 1) that came."""

    history: list[str]
    earlier: int
    recommended: list[Place]
    taken: list[str]
    place: int


@dataclass(frozen=True, kw_only=True)
class Exhibits:
    """`epochs` are training's own lines, none where no log lies beside the bundle.

    `tail` maps a name to the share of all places (0–1) that the most popular 0 %, 1 %, …, 100 % of the catalogue take.
    """

    epochs: list[dict[str, Any]]
    tail: dict[str, Values]
    examples: list[Example]


def epochs(bundle: Path) -> list[dict[str, Any]]:
    """The lines of the training log that was left beside a bundle."""
    file = bundle / EPOCHS
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def cost(bundle: Path) -> dict[str, Any]:
    """What training took, where it was left beside a bundle; it is no part of it, and may be anything."""
    try:
        found = json.loads((bundle / COST).read_text())
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, int)} if isinstance(found, dict) else {}


def tail(shown_N: NDArray[np.int64], popularity_N: NDArray[np.int64]) -> Values:
    """Cumulative share of `shown_N` over items from the most popular to the least, at TAIL_POINTS even steps."""
    order = np.argsort(-popularity_N, kind="stable")
    reached = np.concatenate([[0], np.cumsum(shown_N[order])]) / max(1, shown_N.sum())
    steps = np.linspace(0, len(shown_N), TAIL_POINTS)
    return np.asarray(np.interp(steps, np.arange(len(reached)), reached), dtype=np.float64)


def examples(cases: Cases, ranking: Ranking, items: Catalogue, seed: int) -> list[Example]:
    """A few cases drawn by chance, titles only: nobody can be told from them but by what they took."""
    chosen = np.random.default_rng(seed).permutation(len(cases))[:NUM_EXAMPLES]
    return [_example(int(case), cases, ranking, items) for case in chosen]


def _example(case: int, cases: Cases, ranking: Ranking, items: Catalogue) -> Example:
    def titles(rows: NDArray[Any]) -> list[str]:
        return [shorten(items.titles[row] or items.ids[row], LONGEST_TITLE) for row in rows]

    history, relevant = cases.history[case], cases.relevant[case]
    shown = ranking.top[case, :SHOWN]
    shown = shown[shown != NOBODY]
    return Example(
        history=titles(history[-RECENT:]),
        earlier=max(0, len(history) - RECENT),
        recommended=[
            Place(title=title, is_taken=bool(is_taken)) for title, is_taken in zip(titles(shown), np.isin(shown, relevant), strict=True)
        ],
        taken=titles(relevant[:SHOWN]),
        place=int(ranking.rank[np.searchsorted(ranking.case, case)]) + 1,
    )

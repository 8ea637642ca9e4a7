"""Content of the evaluation report besides metrics: training curves, popularity bias and example lists."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lodestar.bundle.bundle import COST, EPOCHS_LOG
from lodestar.bundle.catalogue import Catalogue
from lodestar.data.split.splits import EvalCases
from lodestar.evaluation.metrics import NO_ITEM, Ranking
from lodestar.process.safe_text import shorten
from lodestar.schema.arrays import Doubles, Float64, Int64, Longs

NUM_EXAMPLES, RECENT, TOP = 3, 5, 5
MAX_TITLE_LENGTH = 90
TAIL_POINTS = 101
MAX_FIGURE = 1e15  # of an epoch; NaN and infinity are none either


@dataclass(frozen=True, kw_only=True)
class ListedItem:
    """One item of an example list; `is_hit`: it is a held-out item of the user."""

    title: str
    is_hit: bool


@dataclass(frozen=True, kw_only=True)
class Example:
    """Titles of one test user: recent history (and the number of `earlier` items), recommendations, held-out items.

    `rank` is the position, from 1, of the first held-out item in the full ranking.
    """

    history: list[str]
    earlier: int
    recommended: list[ListedItem]
    held_out: list[str]
    rank: int


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Training log lines (`epochs`, empty without a log), popularity curves and examples.

    `tail` maps a name to the share of all positions (0–1) that the most popular 0 %, 1 %, …, 100 % of the catalogue fill.
    """

    epochs: list[dict[str, Any]]
    tail: dict[str, Float64[Doubles, " steps"]]
    examples: list[Example]


def epochs(bundle: Path) -> list[dict[str, Any]]:
    """Lines of the training log (epochs.jsonl) in a bundle's folder, without those that are no epoch; empty if there is no log.

    The file is not covered by the bundle's digest, so its content is not trusted: an epoch is a JSON object with a stage, a number, and
    finite figures.
    """
    try:
        lines = (bundle / EPOCHS_LOG).read_bytes().splitlines()
    except OSError:
        return []
    return [found for found in map(_epoch, lines) if found is not None]


def _epoch(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("stage"), str) or "epoch" not in found:
        return None
    figures = [value for name, value in found.items() if name not in {"stage", "part"}]
    return found if all(isinstance(value, int | float) and abs(value) <= MAX_FIGURE for value in figures) else None


def cost(bundle: Path) -> dict[str, Any]:
    """Integer fields of cost.json (threads, workers) in a bundle's folder; empty if it is missing or damaged.

    The file is not covered by the bundle's digest, so its content is not trusted.
    """
    try:
        found = json.loads((bundle / COST).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, int)} if isinstance(found, dict) else {}


def tail(shown_N: Int64[Longs, " items"], popularity_N: Int64[Longs, " items"]) -> Float64[Doubles, " steps"]:
    """Popularity bias curve, [TAIL_POINTS]: cumulative share of `shown_N` over items from the most popular to the least, at even steps."""
    order = np.argsort(-popularity_N, kind="stable")
    reached = np.concatenate([[0], np.cumsum(shown_N[order])]) / max(1, shown_N.sum())
    steps = np.linspace(0, len(shown_N), TAIL_POINTS)
    return np.asarray(np.interp(steps, np.arange(len(reached)), reached), dtype=np.float64)


def examples(cases: EvalCases, ranking: Ranking, items: Catalogue, seed: int) -> list[Example]:
    """NUM_EXAMPLES random test cases; titles only, no user ids."""
    chosen = np.random.default_rng(seed).permutation(len(cases))[:NUM_EXAMPLES]
    return [_example(int(case), cases, ranking, items) for case in chosen]


def _example(case: int, cases: EvalCases, ranking: Ranking, items: Catalogue) -> Example:
    def titles(rows: NDArray[Any]) -> list[str]:
        return [shorten(items.titles[row] or items.ids[row], MAX_TITLE_LENGTH) for row in rows]

    history, relevant = cases.history[case], cases.relevant[case]
    top = ranking.top[case, :TOP]
    top = top[top != NO_ITEM]
    return Example(
        history=titles(history[-RECENT:]),
        earlier=max(0, len(history) - RECENT),
        recommended=[
            ListedItem(title=title, is_hit=bool(is_hit)) for title, is_hit in zip(titles(top), np.isin(top, relevant), strict=True)
        ],
        held_out=titles(relevant[:TOP]),
        rank=int(ranking.rank[np.searchsorted(ranking.case, case)]) + 1,
    )

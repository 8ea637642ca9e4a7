"""The features that a bundle needs, one by one: what it was trained with is what it is served, or it is refused by the feature's name."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lodestar.errors import SchemaMismatch
from lodestar.schema import pairs
from lodestar.schema.features import (
    CROSS_VIEW,
    ITEM_STATS_VIEW,
    RECENT_GAPS_S,
    RECENT_ITEMS,
    USER_ACTIVITY_VIEW,
    USER_SEQUENCE_VIEW,
    VIEWS,
    Count,
    Feature,
)

HISTORY, COUNTS = "history", "counts"  # what a model is given features as


@dataclass(frozen=True, kw_only=True)
class Need:
    """One feature: where it comes from, its type, and what it says; a count has its window in hours and the types of event it counts."""

    view: str
    name: str
    kind: str
    unit: str
    default: float | str | None
    window_h: int = 0
    halvings: int = 0
    types: tuple[str, ...] = ()


Needs = Mapping[str, Sequence[Mapping[str, Any]]]


def needs(*, timed: bool, counts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """What a bundle names: the sequences that it reads, and its ranker's numbers (of `pairs.NAMES`) in their order."""
    sequences = (RECENT_ITEMS, RECENT_GAPS_S) if timed else (RECENT_ITEMS,)
    declared = _declared()
    return {
        HISTORY: [_written(declared[USER_SEQUENCE_VIEW, name]) for name in sequences],
        COUNTS: [_written(next(need for need in declared.values() if need.name == name)) for name in counts],
    }


def counts_of(bundle: str, named: Needs) -> tuple[str, ...]:
    """The names of a ranker's numbers in the order it takes them.

    SchemaMismatch E150 with the first feature that this version has not, or has with another window, unit, type or default.
    """
    declared = _declared()
    for need in (*named[HISTORY], *named[COUNTS]):
        own = declared.get((need["view"], need["name"]))
        if own is None:
            raise SchemaMismatch(f"bundle {bundle} needs the feature {need['view']}.{need['name']}, which this version has not")
        for field, value in _written(own).items():
            if need.get(field) != value:
                told = f"with {field} {need.get(field)!r}, and this version has {value!r}"
                raise SchemaMismatch(f"bundle {bundle} needs the feature {need['view']}.{need['name']} {told}")
    return tuple(str(need["name"]) for need in named[COUNTS])


def _declared() -> dict[tuple[str, str], Need]:
    """By view and name, all that a bundle may need."""
    views = (USER_SEQUENCE_VIEW, USER_ACTIVITY_VIEW, ITEM_STATS_VIEW)
    own = {(view, feature.name): _need(view, feature) for view in views for feature in VIEWS[view].features}
    heat = Need(view=CROSS_VIEW, name=pairs.HEAT, kind="f4", unit=f"{pairs.EVENTS} times {pairs.TAKEN}", default=0.0)
    return {**own, (heat.view, heat.name): heat}


def _need(view: str, feature: Feature | Count) -> Need:
    plain = Need(view=view, name=feature.name, kind=feature.kind, unit=feature.unit, default=feature.default)
    if isinstance(feature, Feature):
        return plain
    return replace(plain, window_h=feature.window_h, halvings=feature.halvings, types=tuple(sorted(feature.types)))


def _written(need: Need) -> dict[str, Any]:
    """As JSON gives it back."""
    return {**asdict(need), "types": list(need.types)}

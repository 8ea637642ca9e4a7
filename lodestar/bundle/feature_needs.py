"""Feature requirements of a bundle, checked at load against this version's declarations to prevent training-serving skew."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lodestar.errors import SchemaMismatch
from lodestar.schema import ranker_inputs
from lodestar.schema.features import (
    CROSS_VIEW,
    ITEM_STATS_VIEW,
    RECENT_GAPS_S,
    RECENT_ITEMS,
    USER_ACTIVITY_VIEW,
    USER_FILTER_VIEW,
    USER_SEQUENCE_VIEW,
    VIEWS,
    Count,
    Feature,
)

HISTORY, COUNTS = "history", "counts"  # inputs of encoder and ranker


@dataclass(frozen=True, kw_only=True)
class RequiredFeature:
    """A feature that a bundle needs: view, name, type, unit and default; a count also has its window in hours and its event types."""

    view: str
    name: str
    kind: str
    unit: str
    default: float | str | None
    window_h: int = 0
    num_half_lives: int = 0
    types: tuple[str, ...] = ()


RequiredFeatures = Mapping[str, Sequence[Mapping[str, Any]]]


def required_features(*, use_time_gaps: bool, reads_filters: bool, count_names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Requirements as stored in bundle.json: the history sequences with the user's filters if those are read, and the count features.

    Those are the ranker's (of `ranker_inputs.NAMES`), in order.
    """
    sequences = (RECENT_ITEMS, RECENT_GAPS_S) if use_time_gaps else (RECENT_ITEMS,)
    filters = [feature.name for feature in VIEWS[USER_FILTER_VIEW].features] if reads_filters else []
    declared = _declared()
    return {
        HISTORY: [
            *(_to_json(declared[USER_SEQUENCE_VIEW, name]) for name in sequences),
            *(_to_json(declared[USER_FILTER_VIEW, name]) for name in filters),
        ],
        COUNTS: [_to_json(next(required for required in declared.values() if required.name == name)) for name in count_names],
    }


def count_names(bundle: str, named: RequiredFeatures) -> tuple[str, ...]:
    """Names of the ranker's count features, in input order, after checking every requirement.

    Raises SchemaMismatch E150 with the first feature that this version does not have, or has with another window, unit, type or default.
    """
    declared = _declared()
    for required in (*named[HISTORY], *named[COUNTS]):
        feature = declared.get((required["view"], required["name"]))
        if feature is None:
            raise SchemaMismatch(
                f"bundle {bundle} needs the feature {required['view']}.{required['name']}, which this version does not have"
            )
        for field, value in _to_json(feature).items():
            if required.get(field) != value:
                reason = f"with {field} {required.get(field)!r}, and this version has {value!r}"
                raise SchemaMismatch(f"bundle {bundle} needs the feature {required['view']}.{required['name']} {reason}")
    return tuple(str(required["name"]) for required in named[COUNTS])


def _declared() -> dict[tuple[str, str], RequiredFeature]:
    """All features that a bundle may need, by view and name."""
    views = (USER_SEQUENCE_VIEW, USER_FILTER_VIEW, USER_ACTIVITY_VIEW, ITEM_STATS_VIEW)
    features = {(view, feature.name): _required_feature(view, feature) for view in views for feature in VIEWS[view].features}
    cross = RequiredFeature(
        view=CROSS_VIEW,
        name=ranker_inputs.RECENCY_COUNTS,
        kind="f4",
        unit=f"{ranker_inputs.EVENTS} times {ranker_inputs.INTERACTIONS}",
        default=0.0,
    )
    return {**features, (cross.view, cross.name): cross}


def _required_feature(view: str, feature: Feature | Count) -> RequiredFeature:
    plain = RequiredFeature(view=view, name=feature.name, kind=feature.kind, unit=feature.unit, default=feature.default)
    if isinstance(feature, Feature):
        return plain
    return replace(plain, window_h=feature.window_h, num_half_lives=feature.num_half_lives, types=tuple(sorted(feature.types)))


def _to_json(required: RequiredFeature) -> dict[str, Any]:
    """The feature as JSON reads it back."""
    return {**asdict(required), "types": list(required.types)}

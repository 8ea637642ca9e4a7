"""Rules of feedback: defaults by scale, domain and log, refusals of rules that contradict each other, and their place in the manifest."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lodestar import schema
from lodestar.data import ingest as ingesting
from lodestar.data.dataset import DataSet
from lodestar.data.ingest import append, ingest
from lodestar.data.resolve import resolve_tables
from lodestar.data.tables import manifest
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError
from lodestar.schema import feedback
from lodestar.schema.events import EventType
from lodestar.schema.feedback import BINARY, Domain, Feedback

Declare = Callable[[Feedback | None], None]  # let data declare rules
DECLARED = Feedback.on_scale(0, 10, seen=(EventType.PURCHASE,), consumption="repeat", repeat_gap_s=3600.0)


def save(path: Path, month: int = 1) -> Path:
    rows = [f"u{user},{item},view,2025-{month:02d}-01T0{user}:00:00Z" for user in range(6) for item in "xy"]
    path.write_text("\n".join(["user_id,item_id,event_type,event_time", *rows]) + "\n")
    return path


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Let data declare rules, as a declaration beside them does."""

    def declared(rules: Feedback | None) -> None:
        def resolved(*arguments: Any, **options: Any) -> DataSet:
            return replace(resolve_tables(*arguments, **options), feedback=rules)

        monkeypatch.setattr(ingesting, "resolve_tables", resolved)

    return declared


def test_thresholds_are_quarters_of_the_scale() -> None:
    found = [
        (rules.rating_negative_to, rules.rating_positive_from)
        for rules in (Feedback(), Feedback.on_scale(0, 10), Feedback.on_scale(0.5, 5), Feedback.on_scale(-1, 1))
    ]
    assert found == [(2, 4), (2.5, 7.5), (1.625, 3.875), (-0.5, 0.5)]


def test_a_declared_threshold_wins_over_the_scale() -> None:
    assert Feedback.on_scale(0, 10, rating_positive_from=6.0).rating_positive_from == 6


@pytest.mark.parametrize(
    ("domain", "types", "seen"),
    [
        ("general", ("view", "purchase"), {"purchase"}),
        ("general", ("view",), set(feedback.WEIGHTS)),
        ("general", ("rating",), {"rating"}),
        ("shop", ("view", "play", "purchase"), {"purchase"}),
        ("media", ("view", "play", "rating"), {"play", "rating"}),
        ("social", ("view", "play", "like"), set(feedback.WEIGHTS)),
        ("education", ("view", "enrol", "play"), {"enrol"}),
    ],
)
def test_seen_is_what_is_had_where_the_log_says_so(domain: Domain, types: tuple[str, ...], seen: set[str]) -> None:
    assert set(Feedback(domain=domain).resolved(types).seen) == seen


def test_declared_seen_types_stand_whatever_the_log_has() -> None:
    assert Feedback(seen=(EventType.PURCHASE,)).resolved(("view",)).seen == (EventType.PURCHASE,)


def test_every_default_weight_is_of_a_type_with_an_item_and_every_such_type_has_one() -> None:
    assert set(feedback.WEIGHTS) == schema.POSITIVE
    assert Feedback().positive[EventType.PURCHASE] > Feedback().positive[EventType.VIEW]


def test_only_binary_feedback_decides_nothing() -> None:
    assert BINARY.is_binary
    changes: tuple[dict[str, Any], ...] = (
        {"positive": {**BINARY.positive, EventType.VIEW: 2.0}},
        {"negative": (EventType.HIDE,)},
        {"rating_positive_from": 4.0},
        {"rating_negative_to": 1.0, "rating_positive_from": 1.5},
        {"seen": (EventType.PURCHASE,)},
        {"consumption": "repeat"},
    )
    for change in changes:
        assert not replace(BINARY, **change).is_binary, change


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positive": {EventType.SEARCH: 1.0}}, "positive: search is no event with an item"),
        ({"positive": {EventType.VIEW: 0.0}}, "positive: a weight is a number above 0"),
        ({"negative": (EventType.VIEW,)}, "negative: view is positive too"),
        ({"seen": (EventType.FOLLOW,)}, "seen: follow is no event with an item"),
        ({"rating_scale": (5.0, 1.0)}, "rating_scale: 5 is not below 1"),
        ({"rating_positive_from": 7.5}, "rating_positive_from: 7.5 is not on the scale from 1 to 5"),
        ({"rating_negative_to": 4.0}, "rating_negative_to: 4 is not below rating_positive_from 4"),
        ({"domain": "zoo"}, "domain: zoo is none of general"),
        ({"consumption": "twice"}, "consumption: twice is neither once nor repeat"),
        ({"consumption": "repeat", "repeat_gap_s": -1.0}, "repeat_gap_s: -1 is no number of seconds"),
        ({"repeat_gap_s": 60.0}, 'repeat_gap_s: it needs consumption = "repeat"'),
    ],
)
def test_rules_that_contradict_each_other_are_refused_by_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Feedback(**fields)


@pytest.mark.parametrize("rules", [Feedback(), BINARY, DECLARED, Feedback(domain="shop").resolved(("view",))])
def test_rules_survive_json(rules: Feedback) -> None:
    assert feedback.from_json(json.loads(json.dumps(rules.to_json()))) == rules


def test_the_first_ingest_records_the_rules_and_appends_keep_them(tmp_path: Path, declare: Declare) -> None:
    declare(DECLARED)
    ingest(str(save(tmp_path / "a.csv")), tmp_path / "tables")
    before = Tables(root=tmp_path / "tables").digest()
    declare(None)
    append(str(save(tmp_path / "b.csv", 2)), tmp_path / "tables")
    assert Tables(root=tmp_path / "tables").feedback() == DECLARED
    assert Tables(root=tmp_path / "tables").digest() != before


def test_rules_are_part_of_the_tables_digest(tmp_path: Path, declare: Declare) -> None:
    digests = set()
    for number, rules in enumerate((None, DECLARED, BINARY)):
        declare(rules)
        ingest(str(save(tmp_path / "a.csv")), tmp_path / str(number))
        digests.add(Tables(root=tmp_path / str(number)).digest())
    assert len(digests) == 3


def test_tables_that_are_ingested_again_keep_their_rules(tmp_path: Path, declare: Declare) -> None:
    declare(DECLARED)
    ingest(str(save(tmp_path / "a.csv")), tmp_path / "tables")
    assert resolve_tables(str(tmp_path / "tables"), {}).feedback == DECLARED


@pytest.mark.parametrize(
    ("first", "second", "name"), [(None, DECLARED, "rating_scale"), (DECLARED, replace(DECLARED, repeat_gap_s=60.0), "repeat_gap_s")]
)
def test_an_append_that_declares_other_rules_is_refused(
    tmp_path: Path, declare: Declare, first: Feedback | None, second: Feedback, name: str
) -> None:
    declare(first)
    append(str(save(tmp_path / "a.csv")), tmp_path / "tables")
    before = (tmp_path / "tables" / manifest.FILE).read_bytes()
    declare(second)
    with pytest.raises(DataError, match=rf"E159 the data declare feedback\.{name} = "):
        append(str(save(tmp_path / "b.csv", 2)), tmp_path / "tables")
    assert (tmp_path / "tables" / manifest.FILE).read_bytes() == before


def test_an_append_may_declare_the_defaults_that_the_folder_has(tmp_path: Path, declare: Declare) -> None:
    append(str(save(tmp_path / "a.csv")), tmp_path / "tables")
    declare(Feedback())
    append(str(save(tmp_path / "b.csv", 2)), tmp_path / "tables")
    assert Tables(root=tmp_path / "tables").feedback() is None

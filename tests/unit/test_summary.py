"""What a run ends with names what this run released, and after a refusal what an earlier one did."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli import summary
from lodestar.bundle.bundle import COST

EARLIER = "0123456789abcdef"


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setattr(summary, "_example_user", lambda _features: "u1")
    made = {name: tmp_path / "made" / name for name in ("evaluation", "report", "card", "ingested", "bundle", "features")}
    for name in ("evaluation", "bundle"):
        made[name].mkdir(parents=True)
    for name in ("report", "card", "ingested"):
        made[name].write_text(name)
    (made["bundle"] / COST).write_text("{}")
    return made


def result(outputs: dict[str, Path], output: Path, *, passes: bool) -> dict[str, Any]:
    found = {"verdict": {"passes": passes, "reason": "So."}, "models": {}, "protocol": {}, "bundle": {"digest": "f" * 16}}
    (outputs["evaluation"] / "evaluation.json").write_text(json.dumps(found))
    return summary.collect(outputs, output)


def test_a_refused_run_names_the_release_that_is_still_served_and_claims_none(outputs: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    release = output / "releases" / f"{'a' * 16}-{EARLIER}"
    (release / "online").mkdir(parents=True)
    (release / "online" / "online.db").write_text("rows")
    (output / "current").symlink_to(Path("releases", release.name))
    refused = result(outputs, output, passes=False)
    assert (refused["bundle"], refused["online_store"], refused["still_current"]) == (None, None, EARLIER)
    assert str(summary.gate_failure(refused)).endswith(f"{output}/current still has the previous release, bundle {EARLIER}.")
    released = result(outputs, output, passes=True)
    assert (released["online_store"], released["still_current"]) == (f"{output}/current/online/online.db", None)


def test_a_refused_run_into_a_new_folder_says_that_nothing_was_released(outputs: dict[str, Path], tmp_path: Path) -> None:
    refused = result(outputs, tmp_path / "out", passes=False)
    assert str(summary.gate_failure(refused)).endswith("Nothing was released.")
    assert refused["still_current"] is None
    released = result(outputs, tmp_path / "out", passes=True)
    assert released["online_store"] is None  # there is none

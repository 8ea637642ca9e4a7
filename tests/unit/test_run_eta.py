"""The ETA of a run: by what was measured, at this run's pace, and by the last run of the same recipe."""

from pathlib import Path

import pytest

from cli.run_eta import MEASURED_S, RunEta, read_eta, write_durations
from components.execution.step_order import STEPS

EXPECTED = {"ingest": 10.0, "train": 100.0, "publish": 20.0}


def test_every_step_is_expected() -> None:
    assert list(MEASURED_S) == list(STEPS)


def test_what_is_left_is_the_running_step_and_those_after_it() -> None:
    eta = RunEta(expected_s=EXPECTED)
    assert eta.left_s("ingest", 4.0, None) == pytest.approx(6 + 100 + 20)
    assert eta.left_s("ingest", 40.0, None) == pytest.approx(0 + 100 + 20)
    assert eta.left_s("ingest", 4.0, 1.0) == pytest.approx(1 + 100 + 20)


def test_steps_that_have_ended_set_the_pace_of_the_others_and_cached_ones_do_not() -> None:
    eta = RunEta(expected_s=EXPECTED, ended_s={"ingest": 20.0})
    assert eta.left_s("train", 0.0, None) == pytest.approx(2 * (100 + 20))
    cached = RunEta(expected_s=EXPECTED, skipped={"ingest"})
    assert cached.left_s("train", 0.0, None) == pytest.approx(100 + 20)


def test_the_durations_of_the_last_run_of_a_recipe_go_before_the_etas_of_phases(tmp_path: Path) -> None:
    first = RunEta(expected_s=EXPECTED, ended_s=dict.fromkeys(STEPS, 7.0))
    write_durations(tmp_path, "sasrec", first)
    again = read_eta(tmp_path, "sasrec")
    assert again.left_s("train", 2.0, 1000.0) == pytest.approx(5 + 7 * (len(STEPS) - 1))
    assert read_eta(tmp_path, "ease").expected_s == MEASURED_S


def test_a_step_from_the_cache_keeps_the_duration_that_it_had(tmp_path: Path) -> None:
    write_durations(tmp_path, "sasrec", RunEta(expected_s=MEASURED_S, ended_s={"train": 50.0}))
    again = read_eta(tmp_path, "sasrec")
    again.skipped.add("train")
    write_durations(tmp_path, "sasrec", again)
    assert read_eta(tmp_path, "sasrec").expected_s["train"] == 50.0


@pytest.mark.parametrize("content", ["", "[]", '{"recipe": "sasrec"}', '{"recipe": "sasrec", "steps": {"train": "x"}}'])
def test_a_damaged_file_is_no_reason_to_fail(content: str, tmp_path: Path) -> None:
    (tmp_path / "durations.json").write_text(content)
    assert read_eta(tmp_path, "sasrec").expected_s == MEASURED_S

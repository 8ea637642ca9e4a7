"""The run's view keeps the log and understands the structured lines."""

import io
import re
import shlex
from typing import Any

import pytest

from cli.progress_view import CACHED, DONE, FAILED, RUNNING, RunView, structured
from cli.run_eta import RunEta
from cli.summary import METRICS, found_in_data, render
from components.execution.step_order import STEPS
from lodestar.data.contract.findings.findings import Finding
from lodestar.data.contract.report import Report, TableReport
from serving.__main__ import parser as serve_parser


def _view(*lines: str) -> RunView:
    view = RunView(io.StringIO())
    for line in lines:
        view.write(line + "\n")
    return view


def test_a_step_goes_from_running_to_done() -> None:
    view = _view('{"lodestar": "started", "step": "train"}')
    assert view.steps["train"].mark == RUNNING
    view.write('    {"lodestar": "finished", "step": "train", "seconds": 2.0}\n')
    assert (view.steps["train"].mark, view.steps["train"].text) == (DONE, "2.0 s")


def test_a_line_that_arrives_in_pieces_is_read_once_whole() -> None:
    view = _view()
    for piece in ('{"lodestar": "star', 'ted", "step": "gate"}', "\n"):
        view.write(piece)
    assert view.steps["gate"].mark == RUNNING


PROGRESS = '{"lodestar": "progress", "step": "train search", "done": 3, "total": 9, "rate": 1, "eta_s": 6.0, "loss": 2.5}'
STARTED = '{"lodestar": "started", "step": "train"}'


def test_a_running_step_shows_its_phase_with_bar_count_times_and_values() -> None:
    shown = _lines(_view(STARTED, PROGRESS), 100)["train"]
    assert re.fullmatch(r"\S  train +train search  ━+─+  3/9  0 s  6 s left  loss 2\.5", shown)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_no_line_of_the_display_is_wider_than_the_terminal(width: int) -> None:
    shown = _lines(_view(STARTED, PROGRESS), width)
    assert max(map(len, shown.values())) <= width
    assert list(shown) == [*STEPS, "run"]


def test_a_step_says_what_it_does_before_and_after_what_it_reports() -> None:
    assert "loading Kubeflow Pipelines" in _lines(_view(), 80)["run"]
    view = _view("12:34:56.789 - INFO - Executing task \x1b[96m'train'\x1b[0m")
    assert "starting Python" in _lines(view, 80)["train"]
    view.write(f"{STARTED}\n")
    assert "loading the features" in _lines(view, 80)["train"]
    view.write('{"lodestar": "activity", "what": "exporting the bundle"}\n')
    assert "exporting the bundle" in _lines(view, 80)["train"]
    view.write(PROGRESS.replace('"done": 3', '"done": 9') + "\n")
    assert "after train search" in _lines(view, 80)["train"]


def test_the_run_has_an_eta_of_its_own_from_the_phase_and_the_steps_after_it() -> None:
    view = _view(STARTED, PROGRESS)
    view.eta = RunEta(expected_s={"train": 50.0, "compress": 20.0, "publish": 30.0})
    assert "about 56 s left" in _lines(view, 80)["run"]
    view.cached("compress")
    assert "about 36 s left" in _lines(view, 80)["run"]


def _lines(view: RunView, width: int) -> dict[str, str]:
    """The display's lines by the name that each begins with."""
    return {line[3:].split()[0] if line[3:].strip() else "": line for line in view.display(width).plain.split("\n")}


def test_records_have_a_time_and_are_never_wrapped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    _view(STARTED, PROGRESS, '{"lodestar": "finished", "step": "train", "seconds": 71.2}')
    records = [re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (.+)", line) for line in capsys.readouterr().err.splitlines()]
    words = [found[1] for found in records if found]
    assert len(words) == len(records)
    assert words[-2:] == ["train: train search 3/9, 6 s left, loss 2.5", "train finished in 1 min 11 s"]


def test_a_failure_is_kept_with_its_exit_code() -> None:
    view = _view('{"lodestar": "failed", "step": "ingest", "error": "E103 empty id", "kind": "DataError", "exit_code": 3}')
    assert view.failure is not None
    assert (view.steps["ingest"].mark, view.failure["exit_code"]) == (FAILED, 3)


def test_everything_reaches_the_log_and_other_lines_the_tail() -> None:
    view = _view("something else")
    assert isinstance(view.log, io.StringIO)
    assert view.log.getvalue() == "something else\n"
    assert list(view.tail) == ["something else"]


def test_a_cached_step_is_marked_by_its_task_name() -> None:
    view = _view()
    view.cached("build-features")
    assert view.steps["build_features"].mark == CACHED


def test_broken_structured_lines_are_plain_lines() -> None:
    assert structured('{"lodestar": "started"') is None


@pytest.fixture
def result() -> dict[str, Any]:
    cost: dict[str, Any] = {"seconds": 97.2, "cpu_seconds": 90.0, "samples": 10, "samples_per_s": 29000.0, "peak_memory_mib": 1200.0}
    cost |= {"gpu_minutes": 0.0, "gpu_peak_memory_mib": 0.0, "warning": "442 interactions, fewer than 10,000: compare with the recipe ease"}
    figures = {name: {"value": 0.1, "low": 0.05, "high": 0.15} for name in METRICS[:-1]} | {METRICS[-1]: {"value": 0.8}}
    return {
        "verdict": {"is_forced": False},
        "metrics": {"model": figures, "item_knn": figures},
        "protocol": {"items": 300, "users": 1000, "part": "test"},
        "cost": cost,
        "report": "r.html",
        "model_card": "m.md",
        "bundle": None,
    }


def test_the_result_says_what_training_cost_and_warns_of_too_few_data(result: dict[str, Any]) -> None:
    said = render(result)
    assert "Training    97 s, 90 s CPU, 29,000 samples/s, 1,200 MiB peak memory\n" in said
    assert "Warning     442 interactions" in said
    result["cost"] |= {"samples": 0, "gpu_minutes": 2.25, "gpu_peak_memory_mib": 900.0, "warning": ""}
    assert "1,200 MiB peak memory, 2.2 GPU minutes (900 MiB GPU memory)" in render(result)
    assert "Warning" not in render(result)


def test_the_result_says_what_was_dropped_and_found_in_the_data(result: dict[str, Any]) -> None:
    report = Report(
        source="a.csv",
        order_only=False,
        findings=tuple(Finding(code="E114", table="events", column="device", count=3, message=f"3 [null|{number}]") for number in range(9)),
        tables={"events": TableReport(rows_in=3, dropped={"E123": 2})},
    )
    found = found_in_data(report.markdown())
    assert found == ["events: E123: 2", *(f"E114 events: 3 [null|{number}]" for number in range(9))]
    said = render(result | {"found_in_data": found})
    assert "Data        events: E123: 2\n            E114 events: 3 [null|0]\n" in said
    assert "            2 more in ingest.md\n" in said
    assert "Data " not in render(result | {"found_in_data": []})


INTERVALS = {50: 0, 60: 0, 70: 2, 80: 6, 120: 6, 200: 6}


@pytest.mark.parametrize("width", INTERVALS)
def test_the_table_of_metrics_fits_the_terminal_with_the_intervals_that_it_has_room_for(
    width: int, result: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    said = re.sub(r"\x1b\[[0-9;]*m", "", render(result))
    assert max(map(len, said.splitlines())) <= width
    assert said.count("0.0500–0.1500") == INTERVALS[width]
    assert ("95 % intervals" in said) == (INTERVALS[width] > 0)


def test_a_script_finds_the_bundle_in_the_last_line_of_an_output_that_is_never_wrapped(
    result: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert render(result).splitlines()[-1] == "r.html"
    lines = render(result | {"bundle": "out/current/bundle", "online_store": "", "example_user": "u1"}).splitlines()
    assert lines[-1] == "out/current/bundle"
    assert sum("0.1000 [0.0500–0.1500]   0.1000 [0.0500–0.1500]   0.1000 [0.0500–0.1500]" in line for line in lines) == 2


def test_the_command_that_serves_the_result_is_one(result: dict[str, Any]) -> None:
    said = render(result | {"bundle": "out/current/bundle", "online_store": "out/online.db", "example_user": "u1"})
    (line,) = (line for line in said.splitlines() if " serve " in line)
    options = serve_parser().parse_args(shlex.split(line.partition(" serve ")[2]))
    assert (options.bundle, options.online_store) == ("out/current/bundle", "sqlite:out/online.db")

"""The run's view keeps the log and understands the structured lines."""

import io
from typing import Any

from cli.progress_view import CACHED, DONE, FAILED, RUNNING, RunView, structured
from cli.summary import METRICS, render


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


def test_progress_shows_what_is_left() -> None:
    line = '{"lodestar": "progress", "step": "epochs", "done": 3, "total": 9, "rate": 1, "eta_s": 6.0, "loss": 2.5}'
    view = _view('{"lodestar": "started", "step": "train"}', line)
    assert view.steps["train"].text == "3/9  loss 2.5  6 s left"


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


def test_the_result_says_what_training_took_and_warns_of_too_few_data() -> None:
    cost: dict[str, Any] = {"seconds": 97.2, "cpu_seconds": 90.0, "samples": 10, "samples_per_s": 29000.0, "peak_memory_mib": 1200.0}
    cost |= {"gpu_minutes": 0.0, "gpu_peak_memory_mib": 0.0, "warning": "442 interactions, fewer than 10,000"}
    figures = {name: {"value": 0.1} for name in METRICS}
    result = {
        "metrics": {"model": figures},
        "protocol": {"items": 3, "users": 2, "part": "test"},
        "cost": cost,
        "report": "r.html",
        "model_card": "m.md",
        "bundle": None,
    }
    said = render(result)
    assert "Training    97 s, 90 s CPU, 29,000 samples/s, 1,200 MiB peak memory\n" in said
    assert "Warning     442 interactions" in said
    result["cost"] = cost | {"samples": 0, "gpu_minutes": 2.25, "gpu_peak_memory_mib": 900.0, "warning": ""}
    assert "1,200 MiB peak memory, 2.2 GPU minutes (900 MiB GPU memory)" in render(result)
    assert "Beware" not in render(result)

"""A job that nobody follows any more ends, and what ends a worker is kept in one line."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from components.kubernetes.launch import BEAT_S
from lodestar.errors import EnvironmentFault
from lodestar.training.distributed import heartbeat
from lodestar.training.distributed.heartbeat import MAX_BYTES, POLL_S, TIMEOUT_S, write_last_error


class Clock:
    """Time that passes by waiting; at each look the store answers with what comes next, and with the last of it for ever."""

    def __init__(self, *answers: bytes | None) -> None:
        self.now, self.answers, self.end_s = 0.0, list(answers), 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def answer(self, _address: str) -> bytes | None:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def end(self) -> None:
        self.end_s = self.now


def ended_s(monkeypatch: pytest.MonkeyPatch, *answers: bytes | None) -> float:
    """When a worker ends that hears these answers, one at each look."""
    clock = Clock(*answers)
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))
    monkeypatch.setattr(heartbeat, "read", clock.answer)
    heartbeat.poll("s3://b/alive", clock.end)
    return clock.end_s


def test_a_worker_ends_when_nobody_has_written_for_a_quarter_of_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended_s(monkeypatch, b"1") == TIMEOUT_S
    assert ended_s(monkeypatch, b"") == TIMEOUT_S  # to an address where nobody ever wrote


def test_a_step_that_writes_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = [str(minute).encode() for minute in range(240)]
    assert ended_s(monkeypatch, *hours) == 239 * POLL_S + TIMEOUT_S


def test_a_store_that_does_not_answer_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended_s(monkeypatch, b"1", *[None] * 60, b"1") == 60 * POLL_S + TIMEOUT_S


def test_a_step_writes_several_times_before_a_job_gives_it_up() -> None:
    assert TIMEOUT_S >= 5 * (BEAT_S + POLL_S)


def error_of(file: Path, error: Exception, rank: int = 1) -> str:
    with pytest.raises(type(error)), write_last_error(file, rank):
        raise error
    return file.read_text()


def test_the_line_that_ended_a_worker_is_kept(tmp_path: Path) -> None:
    assert error_of(tmp_path / "a", ValueError("item 7\nhas no vector")) == "worker 1: ValueError: item 7 has no vector\n"
    fault = EnvironmentFault("E510", "nothing is stored at s3://b/f", remedy="Check it.")
    assert error_of(tmp_path / "b", fault) == "worker 1: E510 nothing is stored at s3://b/f. Check it.\n"
    assert len(error_of(tmp_path / "c", ValueError("x" * 9999))) <= MAX_BYTES


def test_the_first_worker_of_a_pod_that_fails_is_the_one_that_is_kept(tmp_path: Path) -> None:
    tmp_path.joinpath("error").touch()  # as Kubernetes makes it
    error_of(tmp_path / "error", ValueError("the cause"))
    assert "the cause" in error_of(tmp_path / "error", RuntimeError("Connection closed by peer"), rank=2)


def test_a_worker_whose_file_cannot_be_written_ends_with_its_own_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="the cause"), write_last_error(tmp_path / "no" / "where", 0):
        raise ValueError("the cause")
    assert "cannot be written" in capsys.readouterr().err

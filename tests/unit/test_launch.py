"""A training job is started once, followed to its end, and never left behind."""

import os
import signal
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from components.kubernetes import launch
from components.kubernetes.launch import TAIL_LINES, FollowTimeouts, follow, start
from components.kubernetes.training_api import Object
from components.kubernetes.training_job import TrainingJob
from components.kubernetes.worker_failures import Termination, WorkerPod
from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from serving.rollout.api_errors import Unreachable
from tests.unit.test_training_job import job

AT_ONCE, LOST_AT_ONCE = FollowTimeouts(poll_s=0.0), FollowTimeouts(poll_s=0.0, unreachable_s=0.0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AWAY = Unreachable("E597", "the API server does not answer (reading): connection refused", remedy="Run it again.")
FORBIDDEN = EnvironmentFault("E596", "the API server refused reading training job train-1: 403 Forbidden", remedy="Check rights.")


def pod(name: str, *ends: Termination, **changes: Any) -> WorkerPod:
    fields: dict[str, Any] = {"name": name, "created": NOW, "memory": "2Gi", "terminations": ends, **changes}
    return WorkerPod(**fields)


def ended(message: str = "", exit_code: int = 1, *, second: int = 0, reason: str = "Error", is_before: bool = False) -> Termination:
    return Termination(at=NOW.replace(second=second), exit_code=exit_code, reason=reason, message=message, is_before=is_before)


class Server:
    """One namespace as a dictionary; each time a job is read it is a step further in `story`, in which an error is raised."""

    def __init__(self, *story: str | EnvironmentFault) -> None:
        self.story = list(story)
        self.jobs: dict[str, Object] = {}
        self.deleted: list[str] = []
        self.lines = [f"2026-01-01T00:00:{second:02d}Z line {second}" for second in range(30)]
        self.found = [pod("train-1-master-0")]
        self.logs: dict[str, str] = {}
        self.refusal: EnvironmentFault | None = None
        self.lacks: EnvironmentFault | None = None

    def check_rights(self) -> None:
        if self.lacks is not None:
            raise self.lacks

    def create(self, body: Object) -> bool:
        name = body["metadata"]["name"]
        return name not in self.jobs and bool(self.jobs.setdefault(name, body))

    def read(self, name: str) -> Object:
        now = self.story.pop(0) if len(self.story) > 1 else self.story[0]
        if isinstance(now, EnvironmentFault):
            raise now
        facts = [{"type": now, "status": "True", "message": f"it is {now.lower()}"}] if now else []
        return self.jobs[name] | {"status": {"conditions": facts}}

    def delete(self, name: str, *, wait: bool = True) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.deleted.append(name)
        self.jobs.pop(name, None)

    def pods(self, name: str) -> list[WorkerPod]:
        assert name == "train-1"
        return self.found

    def log(self, pod: str, *, is_before: bool = False) -> str:
        return self.logs.get(pod, "\n".join(self.lines))

    def warnings(self, name: str) -> list[str]:
        return [f"FailedScheduling {name}-worker-0: no room"]


def failure(server: Server, made: TrainingJob | None = None) -> str:
    with pytest.raises(EnvironmentFault) as failed:
        follow(server, made or job(), AT_ONCE)
    return str(failed.value)


def test_a_job_is_followed_to_success(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server("Created", "Running", "Running", "Succeeded")
    follow(server, job(), AT_ONCE)
    said = capsys.readouterr().err
    assert said.count("line 29") == 1
    assert said.count("no room") == 1
    assert '"state": "succeeded"' in said
    assert server.deleted == []


def test_lines_with_one_timestamp_are_forwarded_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    class Writing(Server):
        def log(self, pod: str, *, is_before: bool = False) -> str:
            self.lines.append(f"2026-01-01T00:01:00Z same {len(self.lines) // 2}")
            return super().log(pod, is_before=is_before)

    server = Writing("Running", "Running", "Running", "Running", "Succeeded")
    server.lines = []
    follow(server, job(), AT_ONCE)
    said = capsys.readouterr().err
    assert [said.count(f"same {number}\n") for number in (0, 1, 2)] == [2, 2, 1]


def test_a_job_whose_pods_are_gone_is_an_error_with_the_end_of_its_log() -> None:
    said = failure(Server("Running", "Failed"))
    assert said.startswith("E532")
    assert "it is failed" in said
    assert "line 29" in said
    assert said.count("\n") <= TAIL_LINES + 1


def test_a_job_without_a_place_that_cannot_be_deleted_says_so() -> None:
    server = Server("Created")
    server.refusal = FORBIDDEN
    with pytest.raises(EnvironmentFault, match=r"E591[\s\S]*was pending[\s\S]*kubectl -n here delete pytorchjob train-1"):
        follow(server, job(), FollowTimeouts(pending_s=0.0, poll_s=0.0))


def test_a_job_that_finds_no_place_is_deleted() -> None:
    server = Server("Created")
    with pytest.raises(EnvironmentFault, match=r"E531[\s\S]*no room"):
        follow(server, job(), FollowTimeouts(pending_s=0.05, poll_s=0.01))
    assert server.deleted == ["train-1"]


@pytest.mark.parametrize("state", ["Suspended", "Running"])
def test_a_job_that_waits_in_a_queue_or_runs_has_time(state: str) -> None:
    server = Server(*(state,) * 10, "Succeeded")
    follow(server, job(queue="night"), FollowTimeouts(pending_s=0.03, poll_s=0.01))
    assert server.deleted == []


def test_a_job_that_its_queue_let_in_must_find_a_place_as_well() -> None:
    with pytest.raises(EnvironmentFault, match="E531"):
        follow(Server("Suspended", "Created"), job(queue="night"), FollowTimeouts(pending_s=0.03, poll_s=0.01))


@pytest.mark.parametrize("story", [("Created", "Complete"), ("Suspended", "Complete")])
def test_a_train_job_ends_when_it_is_complete(story: tuple[str, ...]) -> None:
    server = Server(*story)
    follow(server, job(kind="TrainJob"), AT_ONCE)
    assert server.deleted == []


def test_a_missing_right_is_said_before_anything_is_made() -> None:
    server = Server("Running")
    server.lacks = EnvironmentFault("E537", "this account may not list pods", remedy="Grant it.")
    assert "E537" in failure(server)
    assert server.jobs == {}


def test_a_server_that_is_away_for_a_while_is_waited_for() -> None:
    server = Server("Running", AWAY, FORBIDDEN, "Running", "Succeeded")
    follow(server, job(), AT_ONCE)
    assert server.deleted == []


@pytest.mark.parametrize("why", [FORBIDDEN, AWAY])
def test_a_job_that_cannot_be_followed_any_more_is_deleted(why: EnvironmentFault) -> None:
    server = Server("Running", why)
    with pytest.raises(EnvironmentFault, match=r"E591.*cannot be watched.*and was deleted"):
        follow(server, job(), LOST_AT_ONCE)
    assert server.deleted == ["train-1"]


def test_a_job_of_which_nobody_knows_whether_it_was_made_is_deleted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("Running")

    def create(body: Object) -> bool:
        server.jobs[body["metadata"]["name"]] = body
        raise AWAY

    monkeypatch.setattr(server, "create", create)
    assert "E591" in failure(server)
    assert server.jobs == {}


def test_where_even_that_is_refused_it_says_what_to_delete() -> None:
    server = Server("Running", FORBIDDEN)
    server.refusal = FORBIDDEN
    with pytest.raises(EnvironmentFault, match="Delete it: `kubectl -n here delete pytorchjob train-1`"):
        follow(server, job(), LOST_AT_ONCE)


def test_a_job_whose_log_cannot_be_read_is_followed_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server("Running", "Running", "Succeeded")

    def refuse(name: str) -> list[WorkerPod]:
        raise FORBIDDEN

    server.pods = refuse  # type: ignore[method-assign]
    follow(server, job(), AT_ONCE)
    assert capsys.readouterr().err.count("403 Forbidden") == 1


def test_a_repeated_step_takes_its_own_job_over(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server("Running", "Running", "Succeeded")
    start(server, job())
    follow(server, job(), AT_ONCE)
    assert "adopted" in capsys.readouterr().err
    assert server.deleted == []


def test_another_job_of_that_name_is_left_alone() -> None:
    server = Server("Running")
    start(server, job(recipe="shop"))
    with pytest.raises(EnvironmentFault, match=r"E533.*kubectl -n here delete pytorchjob train-1"):
        start(server, job())
    assert server.deleted == []


def test_a_job_that_had_failed_is_made_again() -> None:
    server = Server("Failed", "Succeeded")
    start(server, job())
    follow(server, job(), AT_ONCE)
    assert server.deleted == ["train-1"]
    assert "train-1" in server.jobs


@pytest.mark.parametrize("staged", [True, False])
def test_a_job_that_is_done_is_made_again_where_its_bundle_is_gone(staged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "resolve", lambda address: f"{address}/versions/1" if staged else address)
    server = Server("Succeeded")
    start(server, job())
    start(server, job())
    assert server.deleted == ([] if staged else ["train-1"])


def test_a_job_that_is_being_deleted_is_waited_for_and_made_again() -> None:
    server = Server("Running", "Succeeded")
    start(server, job())
    server.jobs["train-1"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    follow(server, job(), AT_ONCE)
    assert server.deleted == ["train-1"]
    assert "deletionTimestamp" not in server.jobs["train-1"]["metadata"]


def test_a_terminated_launcher_takes_the_job_along() -> None:
    server = Server("Running")
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit) as stopped:
        follow(server, job(), FollowTimeouts(poll_s=0.01))
    assert stopped.value.code == 128 + signal.SIGTERM
    assert server.deleted == ["train-1"]


def test_a_job_hears_its_step_while_a_request_of_it_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = threading.Semaphore(0)

    class Slow(Server):
        def read(self, name: str) -> Object:
            assert all(heard.acquire(timeout=10) for _ in range(3))
            return super().read(name)

    monkeypatch.setattr(launch, "BEAT_S", 0.01)
    monkeypatch.setattr(storage, "put", lambda _content, _address: heard.release())
    follow(Slow("Succeeded"), job(heartbeat="s3://b/alive"), AT_ONCE)


def test_a_job_is_told_that_it_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(storage, "put", lambda _content, address: told.append(address))
    follow(Server("Running", "Running", "Succeeded"), job(heartbeat="s3://b/alive"), AT_ONCE)
    assert told == ["s3://b/alive"]

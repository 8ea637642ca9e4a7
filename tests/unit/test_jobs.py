"""A training job is started once, followed to its end, and never left behind."""

import os
import signal
import threading
from typing import Any

import pytest

from components import launch
from components.job_server import Object, conditions
from components.jobs import SPEC, TrainingJob, as_asked, manifest
from components.launch import SHOWN_LINES, follow, launch_as_asked, start
from lodestar.errors import ConfigError, EnvironmentFault


def job(**changes: Any) -> TrainingJob:
    given: dict[str, Any] = {
        "name": "train-1",
        "namespace": "here",
        "image": "registry/train:1",
        "features": "s3://b/f",
        "bundle": "s3://b/o",
        "checkpoints": "s3://b/c",
        "recipe": "sasrec",
    }
    return TrainingJob(**given | changes)


class Server:
    """One namespace as a dictionary; each time a job is read it is a step further in `story`."""

    def __init__(self, *story: str) -> None:
        self.story = list(story)
        self.jobs: dict[str, Object] = {}
        self.deleted: list[str] = []
        self.lines = [f"2026-01-01T00:00:{second:02d}Z line {second}" for second in range(30)]

    def create(self, body: Object) -> bool:
        name = body["metadata"]["name"]
        return name not in self.jobs and bool(self.jobs.setdefault(name, body))

    def read(self, name: str) -> Object:
        now = self.story.pop(0) if len(self.story) > 1 else self.story[0]
        facts = [{"type": now, "status": "True", "message": f"it is {now.lower()}"}] if now else []
        return self.jobs[name] | {"status": {"conditions": facts}}

    def delete(self, name: str) -> None:
        self.deleted.append(name)
        self.jobs.pop(name, None)

    def log(self, name: str) -> str:
        assert name == "train-1"
        return "\n".join(self.lines)

    def warnings(self, name: str) -> list[str]:
        return [f"FailedScheduling {name}-worker-0: no room"]


def test_a_job_is_followed_to_success(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server("Created", "Running", "Running", "Succeeded")
    follow(server, job(), poll_s=0)
    said = capsys.readouterr().err
    assert said.count("line 29") == 1
    assert said.count("no room") == 1
    assert '"state": "succeeded"' in said
    assert server.deleted == []


def test_a_job_that_fails_is_an_error_with_the_end_of_its_log() -> None:
    with pytest.raises(EnvironmentFault, match="E532") as failed:
        follow(Server("Running", "Failed"), job(), poll_s=0)
    assert "it is failed" in str(failed.value)
    assert "line 29" in str(failed.value)
    assert str(failed.value).count("\n") <= SHOWN_LINES + 1


def test_a_job_that_finds_no_place_is_taken_away() -> None:
    server = Server("Created")
    with pytest.raises(EnvironmentFault, match="E531"):
        follow(server, job(), pending_s=0.05, poll_s=0.01)
    assert server.deleted == ["train-1"]


@pytest.mark.parametrize("state", ["Suspended", "Running"])
def test_a_job_that_waits_in_a_queue_or_runs_has_time(state: str) -> None:
    server = Server(*(state,) * 10, "Succeeded")
    follow(server, job(queue="night"), pending_s=0.03, poll_s=0.01)
    assert server.deleted == []


def test_a_job_that_its_queue_let_in_must_find_a_place_as_well() -> None:
    server = Server("Suspended", "Created")
    with pytest.raises(EnvironmentFault, match="E531"):
        follow(server, job(queue="night"), pending_s=0.03, poll_s=0.01)


def test_a_repeated_step_takes_its_own_job_over(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server("Running", "Running", "Succeeded")
    start(server, manifest(job()))
    follow(server, job(), poll_s=0)
    assert "taken over" in capsys.readouterr().err
    assert server.deleted == []


def test_another_job_of_that_name_is_left_alone() -> None:
    server = Server("Running")
    start(server, manifest(job(recipe="shop")))
    with pytest.raises(EnvironmentFault, match="E533"):
        start(server, manifest(job()))
    assert server.deleted == []


def test_a_job_that_had_failed_is_made_again() -> None:
    server = Server("Failed", "Succeeded")
    start(server, manifest(job()))
    follow(server, job(), poll_s=0)
    assert server.deleted == ["train-1"]
    assert "train-1" in server.jobs


def test_a_terminated_launcher_takes_the_job_along() -> None:
    server = Server("Running")
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit) as ended:
        follow(server, job(), poll_s=0.01)
    assert ended.value.code == 128 + signal.SIGTERM
    assert server.deleted == ["train-1"]


def test_the_same_job_has_the_same_digest_and_another_has_another() -> None:
    def digest(**changes: Any) -> str:
        return str(manifest(job(**changes))["metadata"]["annotations"][SPEC])

    assert digest() == digest()
    assert len({digest(), digest(workers=3), digest(overrides='{"train": {"seed": 1}}'), digest(gpus=1)}) == 4


def test_one_worker_needs_no_others() -> None:
    assert set(manifest(job(workers=1))["spec"]["pytorchReplicaSpecs"]) == {"Master"}
    assert manifest(job(workers=3))["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 2


def test_gpus_are_asked_for_and_one_process_runs_on_each() -> None:
    spec = manifest(job(gpus=4))["spec"]
    container = spec["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]
    assert spec["nprocPerNode"] == "4"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == container["resources"]["requests"]["nvidia.com/gpu"] == "4"


def test_a_queued_job_waits_to_be_let_in() -> None:
    body = manifest(job(queue="night"))
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "night"
    assert body["spec"]["runPolicy"]["suspend"] is True
    assert manifest(job())["spec"]["runPolicy"]["suspend"] is False


@pytest.mark.parametrize("changes", [{"name": "Train"}, {"name": "-a"}, {"name": "a" * 54}, {"name": ""}, {"workers": 0}, {"gpus": -1}])
def test_what_no_cluster_would_take_is_refused_at_once(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        job(**changes)


def test_a_train_job_says_the_same_and_leaves_pods_to_the_runtime() -> None:
    body = manifest(job(kind="TrainJob", workers=3, gpus=2, queue="night"))
    assert (body["apiVersion"], body["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    trainer, container = (
        body["spec"]["trainer"],
        manifest(job(gpus=2))["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0],
    )
    assert {key: trainer[key] for key in ("image", "command", "args")} == {key: container[key] for key in ("image", "command", "args")}
    assert (trainer["numNodes"], trainer["numProcPerNode"], trainer["resourcesPerNode"]) == (3, 2, container["resources"])
    assert body["spec"]["suspend"] is True


@pytest.mark.parametrize("story", [("Created", "Complete"), ("Suspended", "Complete")])
def test_a_train_job_ends_when_it_is_complete(story: tuple[str, ...]) -> None:
    server = Server(*story)
    follow(server, job(kind="TrainJob"), poll_s=0)
    assert server.deleted == []


def test_a_train_job_runs_where_its_pods_are_ready() -> None:
    assert conditions({"status": {"jobsStatus": [{"name": "node", "ready": 1}]}}) == {"Running": "pods are ready"}
    assert conditions({"status": {"jobsStatus": [{"name": "node", "ready": 0}]}}) == {}


def asked(training: str, **changes: str) -> TrainingJob:
    given = {"image": "registry/train:1", "features": "s3://b/f", "bundle": "s3://b/o", "recipe": "sasrec", "overrides": "{}"}
    return as_asked(training, **given | changes)


def test_a_step_names_its_job_by_what_it_trains_on() -> None:
    first = asked('{"workers": 3, "queue": "night"}')
    assert (first.workers, first.queue, first.namespace, first.checkpoints) == (3, "night", "lodestar-training", "s3://b/f.checkpoints")
    assert asked('{"workers": 3, "queue": "night"}') == first
    assert len({first.name, asked("{}", overrides='{"train": {"seed": 1}}').name, asked("{}", bundle="s3://b/p").name}) == 3


@pytest.mark.parametrize(
    "training", ["{", "[1]", '{"pods": 3}', '{"workers": "3"}', '{"workers": true}', '{"kind": "Job"}', '{"workers": 0}']
)
def test_what_a_step_asks_for_is_checked_before_anything_starts(training: str) -> None:
    with pytest.raises(ConfigError):
        asked(training)


def test_a_job_needs_addresses_that_other_machines_reach() -> None:
    with pytest.raises(ConfigError, match="/tmp/f is none"):
        asked("{}", features="/tmp/f")


def test_a_job_that_leaves_no_bundle_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("Succeeded")
    monkeypatch.setattr(launch, "connect", lambda _namespace, _kind: Named(server))
    monkeypatch.setattr("lodestar.storage.resolve", lambda address: address)
    monkeypatch.setattr("lodestar.storage.get", lambda _address: None)
    with pytest.raises(EnvironmentFault, match=r"E532.*left no bundle at s3://b/o"):
        launch_as_asked("{}", image="i", features="s3://b/f", bundle="s3://b/o", recipe="sasrec", overrides="{}")


class Named(Server):
    """A server whose job has any name."""

    def __init__(self, other: Server) -> None:
        super().__init__(*other.story)

    def log(self, name: str) -> str:
        assert name.startswith("train-")
        return ""

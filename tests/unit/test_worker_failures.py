"""The worker that failed first is quoted by its own line, whichever it is and however it ended."""

from dataclasses import replace

import pytest

from components.kubernetes.worker_failures import Termination, WorkerFailure
from tests.unit.test_launch import Server, ended, failure, pod

BANNER = """E1130 11:40:02.000 1 torch/distributed/elastic/multiprocessing/api.py:882] failed (exitcode: 1) local_rank: 0 (pid: 9)
Traceback (most recent call last):
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
lodestar.training FAILED
------------------------------------------------------------
Root Cause (first observed failure):
  exitcode  : 1 (pid: 9)
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================"""


@pytest.mark.parametrize("name", ["train-1-master-0", "train-1-worker-0"])
def test_the_worker_that_failed_first_is_quoted_whichever_it_is(name: str) -> None:
    server = Server("Running", "Failed")
    other = "train-1-worker-0" if name.endswith("master-0") else "train-1-master-0"
    server.found = [
        pod(other, ended("worker 1: RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.3]:1024")),
        pod(name, ended("worker 0: ValueError: item 7 has no vector\n", second=1)),
    ]
    said = failure(server)
    assert f"E532 training job train-1 failed: {name}: worker 0: ValueError: item 7 has no vector. See `kubectl" in said


def test_without_an_error_file_the_line_before_torchruns_page_is_quoted() -> None:
    server = Server("Running", "Failed")
    server.found = [pod("train-1-master-0", ended("  time : 2026-01-01\n  exitcode  : 1 (pid: 9)\n======"))]
    lines = ["epoch 3", "Traceback (most recent call last):", "ModuleNotFoundError: No module named 'lodestar'", *BANNER.splitlines()]
    server.logs = {"train-1-master-0": "\n".join(f"2026-01-01T00:00:00Z {line}" for line in lines)}
    said = failure(server)
    assert "train-1-master-0: ModuleNotFoundError: No module named 'lodestar'." in said
    assert "ChildFailedError" not in said
    assert "To enable traceback" not in said


LOST = replace(
    ended("The container could not be located when the pod was terminated", 137, reason="ContainerStatusUnknown"),
    at=None,  # as the kubernetes client gives `finishedAt: null`
)


def test_a_container_whose_end_nobody_saw_is_no_riddle() -> None:
    server = Server("Running", "Failed")
    server.lines = []
    server.found = [pod("train-1-master-0", LOST), pod("train-1-worker-0", LOST)]
    said = failure(server)
    assert "E532 training job train-1 failed: train-1-master-0: The container could not be located" in said
    server.story = ["Running", "Failed"]
    server.jobs.clear()
    server.found = [pod("train-1-master-0", LOST), pod("train-1-worker-0", ended("worker 1: ValueError: item 7 has no vector"))]
    assert "train-1-worker-0: worker 1: ValueError" in failure(server)


@pytest.mark.parametrize(
    "end",
    [
        ended(exit_code=137, reason="OOMKilled"),
        ended(exit_code=1, reason="OOMKilled"),
        ended("  exitcode  : -9 (pid: 24)\n  traceback : Signal 9 (SIGKILL) received by PID 24"),
    ],
)
def test_a_worker_that_ran_out_of_memory_says_so_and_how_to_give_it_more(end: Termination) -> None:
    server = Server("Running", "Failed")
    later = pod("train-1-master-0", ended("worker 0: RuntimeError: Connection reset by peer", second=3))
    server.found = [later, pod("train-1-worker-0", end)]
    said = failure(server)
    assert said.startswith("E590 training job train-1 failed: train-1-worker-0 was ")
    assert ("OOMKilled" if end.reason == "OOMKilled" else "SIGKILL") in said
    assert "2Gi" in said
    assert '{"memory": "4Gi"}' in said  # twice what was too little


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("64Gi", "128Gi"), ("1.5Gi", "3.0Gi"), ("512Mi", "1024Mi"), ("8000000000", "16000000000"), ("", "32Gi"), ("1e3", "32Gi")],
)
def test_twice_the_limit_that_was_too_little_is_proposed(limit: str, expected: str) -> None:
    killed = ended(exit_code=137, reason="OOMKilled")
    failed = WorkerFailure(pod=replace(pod("train-1-worker-0", killed), memory=limit), termination=killed, line="")
    assert failed.more_memory("16Gi") == expected


def test_why_a_worker_failed_is_remembered_when_its_pod_is_gone() -> None:
    server = Server("Running", "Running", "Failed")
    before = [pod("train-1-worker-0", ended("worker 1: E510 nothing is stored at s3://b/f. Check it.", is_before=True))]
    server.found, seen = before, server.pods
    server.pods = lambda name: [] if len(server.story) == 1 else seen(name)  # type: ignore[method-assign]
    assert "train-1-worker-0: worker 1: E510 nothing is stored at s3://b/f" in failure(server)


@pytest.mark.parametrize(("log", "last"), [("", ""), ("2026-01-01T00:00:00Z epoch 3", "; its last line: epoch 3")])
def test_a_worker_that_died_of_a_signal_says_which(log: str, last: str) -> None:
    server = Server("Running", "Failed")
    server.found, server.logs = [pod("train-1-master-0", ended("  exitcode  : -11 (pid: 24)"))], {"train-1-master-0": log}
    assert f"train-1-master-0 was ended by SIGSEGV{last}. See" in failure(server)


def test_a_worker_that_its_node_ended_says_why_the_node_did() -> None:
    server = Server("Running", "Failed")
    server.found = [pod("train-1-worker-0", ended(exit_code=137), reason="Evicted The node was low on resource: ephemeral-storage")]
    assert "E532 training job train-1 failed: train-1-worker-0: Evicted The node was low on resource: ephemeral-storage." in failure(server)

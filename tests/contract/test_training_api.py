"""Jobs by the kubernetes client: what is away, what is missing and what refuses are told apart."""

import pytest

from components.kubernetes import training_api
from lodestar.errors import EnvironmentFault
from serving.rollout.api_errors import Unreachable
from tests.contract.api_server import TRAINING, Server
from tests.contract.test_access import JOB, server

__all__ = ["server"]


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_pod_without_a_log_has_none_yet(server: Server, status: int) -> None:
    server.refused = {"pods/log": status}
    assert training_api.connect(TRAINING, "PyTorchJob").log("master-new") == ""


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("the server could not find the requested resource", r"E598 .*no PyTorchJob.*training-operator.*LODESTAR_TRAINING.*`local`"),
        (
            'namespaces "lodestar-training" not found',
            r"E539 the namespace lodestar-training for training jobs does not exist.*kubectl apply -f manifests/",
        ),
    ],
)
def test_a_cluster_without_the_operator_is_refused_with_what_to_do(
    server: Server, monkeypatch: pytest.MonkeyPatch, said: str, remedy: str
) -> None:
    server.refused = {"pytorchjobs": 404}
    monkeypatch.setattr(server, "said", said)
    with pytest.raises(EnvironmentFault, match=remedy):
        training_api.connect(TRAINING, "PyTorchJob").create(JOB)


def test_a_job_that_somebody_deleted_is_said_to_be_gone(server: Server) -> None:
    with pytest.raises(EnvironmentFault, match=r"E538.*train-1 is no longer in namespace lodestar-training"):
        training_api.connect(TRAINING, "PyTorchJob").read("train-1")


@pytest.mark.parametrize(("status", "is_away"), [(403, False), (401, False), (429, True), (503, True)])
def test_a_server_that_is_busy_is_told_from_one_that_refuses(server: Server, status: int, is_away: bool) -> None:
    server.refused = {"pytorchjobs": status}
    with pytest.raises(EnvironmentFault, match="E597" if is_away else "E596") as refused:
        training_api.connect(TRAINING, "PyTorchJob").read("train-1")
    assert isinstance(refused.value, Unreachable) == is_away

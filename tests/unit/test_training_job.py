"""A training job as a value: what a step asks for, and the object that a cluster is given."""

import json
import re
from typing import Any

import pytest
from kfp.dsl import TaskConfig

from components.kubernetes.job_settings import TrainStepInputs, job_from_settings
from components.kubernetes.training_api import Object, conditions
from components.kubernetes.training_job import SPEC, StepPod, TrainingJob, manifest
from lodestar.errors import ConfigError
from tests.contract.test_manifests import check


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


def test_the_same_job_has_the_same_digest_and_another_has_another() -> None:
    def digest(**changes: Any) -> str:
        return str(manifest(job(**changes))["metadata"]["annotations"][SPEC])

    assert digest() == digest()
    assert len({digest(), digest(workers=3), digest(overrides='{"train": {"seed": 1}}'), digest(gpus=1)}) == 4


def test_one_worker_needs_no_others() -> None:
    assert set(manifest(job(workers=1))["spec"]["pytorchReplicaSpecs"]) == {"Master"}
    assert manifest(job(workers=3))["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 2


def test_gpus_are_requested_and_one_process_runs_on_each() -> None:
    spec = manifest(job(gpus=4))["spec"]
    container = spec["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]
    assert spec["nprocPerNode"] == "4"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == container["resources"]["requests"]["nvidia.com/gpu"] == "4"


def test_a_queued_job_waits_to_be_let_in() -> None:
    body = manifest(job(queue="night"))
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "night"
    assert body["spec"]["runPolicy"]["suspend"] is True
    assert manifest(job())["spec"]["runPolicy"]["suspend"] is False


@pytest.mark.parametrize(
    "changes", [{"name": "Train"}, {"name": "-a"}, {"name": "a" * 54}, {"name": ""}, {"workers": 0}, {"gpus": -1}, {"min_workers": 3}]
)
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


def test_a_train_job_runs_where_its_pods_are_ready() -> None:
    assert conditions({"status": {"jobsStatus": [{"name": "node", "ready": 1}]}}) == {"Running": "pods are ready"}
    assert conditions({"status": {"jobsStatus": [{"name": "node", "ready": 0}]}}) == {}


ARTIFACTS = "s3://b/root/lodestar-recommend/4f6a9c1e-1f7b-4c36-9d1c-0c6a2d3f8a11"
FIRST, SECOND = "0b9d4a52-6f0e-4d19-8f0a-2f2c1f3b7e01", "5f1c0c66-93a5-4bb0-9a3c-7f9e0e5f6a02"
FEATURES = f"{ARTIFACTS}/build-features/{FIRST}/features"


def job_of(setting: str, task: TaskConfig | None = None, **changes: str) -> TrainingJob:
    given = {"image": "registry/train:1", "features": FEATURES, "features_digest": "ab12", "recipe": "sasrec", "overrides": "{}"}
    return job_from_settings(setting, TrainStepInputs(**{"bundle": f"{ARTIFACTS}/train/{FIRST}/bundle", **given, **changes}), task)


def pods_of(made: TrainingJob) -> list[Object]:
    return [replica["template"]["spec"] for replica in manifest(made)["spec"]["pytorchReplicaSpecs"].values()]


def test_a_step_names_its_job_by_what_it_trains_on() -> None:
    first = job_of('{"workers": 3, "queue": "night"}')
    assert (first.workers, first.queue, first.checkpoints) == (3, "night", f"{FEATURES}.checkpoints")
    assert job_of('{"workers": 3, "queue": "night"}') == first
    others = [job_of("{}", overrides='{"train": {"seed": 1}}'), job_of("{}", bundle="s3://b/p"), job_of("{}", features_digest="cd34")]
    assert len({first.name, *(other.name for other in others)}) == 4


def test_without_a_namespace_it_goes_where_the_manifests_have_an_account_for_it() -> None:
    made = job_of('{"workers": 2}')
    assert (made.namespace, made.service_account) == ("lodestar-training", "trainer")
    assert pods_of(made)[0]["serviceAccountName"] == "trainer"
    assert job_of('{"namespace": "team", "service_account": "default"}').service_account == "default"


def test_an_attempt_that_has_a_folder_of_its_own_finds_the_job_of_the_one_before() -> None:
    first, second = (job_of("{}", bundle=f"{ARTIFACTS}/train/{attempt}/bundle") for attempt in (FIRST, SECOND))
    assert first == second
    assert first.bundle.startswith(f"{ARTIFACTS}/train/bundle.staging-")


def test_the_bundle_is_staged_beside_the_artifact_which_the_launcher_writes() -> None:
    made = job_of("{}", bundle="s3://b/o")
    assert made.bundle != "s3://b/o"
    assert not made.bundle.startswith("s3://b/o/")
    assert f"--output={made.bundle}" in pods_of(made)[0]["containers"][0]["args"]


def test_workers_check_the_features_that_the_step_was_given() -> None:
    assert "--features-digest=ab12" in pods_of(job_of("{}"))[0]["containers"][0]["args"]


@pytest.mark.parametrize(
    "setting",
    [
        *("{", "[1]", '{"pods": 3}', '{"workers": "3"}', '{"workers": true}', '{"kind": "Job"}', '{"workers": 0}'),
        *('{"kind": "TrainJob", "min_workers": 1}', '{"workers": 2, "min_workers": 3}', '{"min_workers": -1}'),
    ],
)
def test_what_a_step_asks_for_is_checked_before_anything_starts(setting: str) -> None:
    with pytest.raises(ConfigError):
        job_of(setting)


def test_a_job_needs_addresses_that_other_machines_reach() -> None:
    with pytest.raises(ConfigError, match="/tmp/f is not one"):
        job_of("{}", features="/tmp/f")


TASK = TaskConfig(
    tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    node_selector={"pool": "gpu"},
    affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
    env=[
        {"name": "NCCL_DEBUG", "value": "INFO"},
        {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": {"name": "wandb", "key": "key"}}},
        {"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"name": "lodestar-pipeline", "key": "AWS_ACCESS_KEY_ID"}}},
        {"name": "LODESTAR_TRAINING", "valueFrom": {"configMapKeyRef": {"name": "lodestar-settings", "key": "LODESTAR_TRAINING"}}},
        {"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ],
    resources={"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}},
)


def test_what_is_set_on_the_task_reaches_every_pod_of_the_job() -> None:
    made = job_of('{"workers": 2}', TASK)
    assert made.gpus == 2
    for spec in pods_of(made):
        (container,) = spec["containers"]
        assert (spec["tolerations"], spec["nodeSelector"], spec["affinity"]) == (TASK.tolerations, TASK.node_selector, TASK.affinity)
        assert container["resources"] == {
            "requests": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "2"},
            "limits": {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"},
        }
        assert [entry["name"] for entry in container["env"]] == ["NCCL_DEBUG", "WANDB_API_KEY"]
    check(manifest(made))


def test_what_the_clusters_owner_says_goes_before_what_is_set_on_the_task() -> None:
    (container,) = pods_of(job_of('{"memory": "1Gi", "cpu": "10", "gpus": 1}', TASK))[0]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "10", "memory": "1Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "1Gi", "nvidia.com/gpu": "1"},
    }


@pytest.mark.parametrize("accelerator", ["amd.com/gpu", "nvidia.com/mig-1g.10gb"])
def test_one_process_runs_on_each_accelerator_whoever_makes_it(accelerator: str) -> None:
    made = job_of("{}", TaskConfig(resources={"limits": {accelerator: "3", "rdma/hca": "1"}}))
    assert manifest(made)["spec"]["nprocPerNode"] == "3"
    limits = pods_of(made)[0]["containers"][0]["resources"]["limits"]
    assert (limits[accelerator], limits["rdma/hca"]) == ("3", "1")


def test_a_task_without_settings_asks_for_what_a_job_has_by_itself() -> None:
    assert job_of("{}", TaskConfig()) == job_of("{}")
    (container,) = pods_of(job_of("{}", TaskConfig(resources={"requests": {"memory": "8Gi"}})))[0]["containers"]
    assert container["resources"]["limits"]["memory"] == "8Gi"


def test_a_gpu_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="whole number, got 'two'"):
        job_of("{}", TaskConfig(resources={"limits": {"nvidia.com/gpu": "two"}}))


def test_a_train_job_says_by_patches_where_its_pods_run() -> None:
    body = manifest(job_of('{"kind": "TrainJob"}', TASK))
    check(body)
    (patch,) = body["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert node["name"] == "node"
    assert node["template"]["spec"]["template"]["spec"]["tolerations"] == TASK.tolerations
    assert [entry["name"] for entry in body["spec"]["trainer"]["env"]] == ["NCCL_DEBUG", "WANDB_API_KEY"]
    assert "runtimePatches" not in manifest(job_of('{"kind": "TrainJob"}'))["spec"]


def test_an_elastic_job_has_workers_that_may_be_fewer() -> None:
    body = manifest(job_of('{"workers": 4, "min_workers": 2}'))
    check(body)
    assert {kind: replica["replicas"] for kind, replica in body["spec"]["pytorchReplicaSpecs"].items()} == {"Worker": 4}
    policy = body["spec"]["elasticPolicy"]
    assert (policy["minReplicas"], policy["maxReplicas"], policy["rdzvBackend"]) == (2, 4, "c10d")
    assert "elasticPolicy" not in manifest(job_of("{}"))["spec"]


def test_shared_memory_is_as_large_as_was_said() -> None:
    (shm,) = [volume for volume in pods_of(job_of('{"shm": "4Gi"}'))[0]["volumes"] if volume["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}


def test_what_a_worker_says_last_is_kept_when_its_pod_ends() -> None:
    (container,) = pods_of(job_of("{}"))[0]["containers"]
    assert "--error-file=/dev/termination-log" in container["args"]
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_settings_are_written_as_the_message_says() -> None:
    with pytest.raises(ConfigError) as refused:
        job_of("two workers")
    example = str(refused.value).rpartition("Write LODESTAR_TRAINING='")[2].removesuffix("'")
    assert job_of(example).workers == json.loads(example)["workers"]


def expanded(argument: str, variables: dict[str, str]) -> str:
    """As Kubernetes reads an argument: `$$` is a dollar, `$(NAME)` a variable's value where there is one."""
    return re.sub(r"\$\$|\$\((\w+)\)", lambda found: "$" if found[0] == "$$" else variables.get(found[1], found[0]), argument)


@pytest.mark.parametrize("text", ["$(AWS_SECRET_ACCESS_KEY)", "$$(AWS_SECRET_ACCESS_KEY)", "a$b", "$$", "$", "${trialParameters.dim}"])
def test_no_override_reads_a_variable_of_the_workers(text: str) -> None:
    (container,) = pods_of(job(overrides=text))[0]["containers"]
    (argument,) = [given for given in container["args"] if given.startswith("--overrides=")]
    assert expanded(argument, {"AWS_SECRET_ACCESS_KEY": "not-a-secret"}) == f"--overrides={text}"


def test_a_job_belongs_to_the_pod_of_its_step_only_in_the_same_namespace() -> None:
    def owners(namespace: str, uid: str = "u-1") -> list[Object] | None:
        step = StepPod(name="run-train", uid=uid, namespace=namespace)
        found: list[Object] | None = manifest(job(pod=step))["metadata"].get("ownerReferences")
        return found

    assert owners("here") == [{"apiVersion": "v1", "kind": "Pod", "name": "run-train", "uid": "u-1"}]
    assert owners("kubeflow") is None
    assert owners("here", uid="") is None

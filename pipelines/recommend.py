"""The pipeline (Kubeflow Pipelines): from behaviour logs to a released recommendation model. Wiring only."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from kfp import compiler, dsl, kubernetes
from kfp.dsl import HTML, Artifact, Dataset, Markdown, Model

from components.build_features import build_features
from components.compress import compress
from components.deploy import deploy
from components.evaluate import evaluate
from components.gate import gate
from components.images.image import REGISTRY, image_reference
from components.ingest import ingest
from components.publish import publish
from components.train import train
from components.version import version
from lodestar.process.environment_variables import FEAST_REGISTRY, POD, REDIS, REDIS_LOGIN, TRAINING
from pipelines.resources import with_resources

PIPELINE = "lodestar-recommend"
# Optional Secret and ConfigMap of the cluster, whose keys become environment variables of the steps.
STORAGE = "lodestar-pipeline"
STORAGE_KEYS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    *("AWS_CA_BUNDLE", "AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"),
)
SETTINGS = "lodestar-settings"
ONLINE_KEYS = (REDIS_LOGIN, FEAST_REGISTRY)  # the registry's address holds a password
ROLES = {"version": "features", "ingest": "features", "build_features": "features", "publish": "features"} | {
    "train": "train",
    "compress": "train",
    "evaluate": "train",
    "gate": "launcher",
    "deploy": "launcher",
}
READS_STORE = ("version", "ingest", "train", "publish", "deploy")
READS_SETTING = {"train": TRAINING, "publish": REDIS}


class Outputs(NamedTuple):
    """Artifacts of a run that `lodestar run` and the Pipelines UI show."""

    evaluation: Artifact
    report: HTML
    card: Markdown
    ingested: Markdown
    bundle: Model
    features: Dataset


def compile_to(target: Path, registry: str = REGISTRY, memory: Mapping[str, str] | None = None) -> None:
    """Compile the pipeline to one YAML file; the same code gives the same bytes.

    `memory` overrides the memory of `pipelines.resources` by step, such as {"train": "64Gi"}.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(_pipeline(registry, memory or {}), str(target))


def _pipeline(registry: str, memory: Mapping[str, str]):  # type: ignore[no-untyped-def]
    @dsl.pipeline(name=PIPELINE, description="From behaviour logs to a released recommendation model.")
    def recommend(
        data: str = "simulator",
        quarantine: bool = False,
        recipe: str = "shop",
        overrides: dict[str, Any] = {},  # noqa: B006 - kfp writes the default into the file
        destination: str = "",
        service: str = "",
    ) -> Outputs:
        configure = partial(_configure, registry=registry, memory=memory)
        config = {"recipe": recipe, "overrides": overrides}
        # Never cached; the cached steps take the data's version from it, and not the start time.
        versioned = configure(version(data=data, destination=destination, service=service, **config))
        versioned.set_caching_options(enable_caching=False)
        tables = configure(ingest(data=data, data_version=versioned.outputs["data_version"], quarantine=quarantine))
        features = configure(build_features(tables=tables.outputs["tables"], **config)).outputs["features"]
        uncompressed = configure(train(features=features, image=image_reference("train", registry), **config)).outputs["bundle"]
        bundle = configure(compress(features=features, uncompressed=uncompressed, **config)).outputs["bundle"]
        evaluated = configure(evaluate(features=features, bundle=bundle, uncompressed=uncompressed, **config))
        gated = configure(gate(evaluation=evaluated.outputs["evaluation"]))
        with dsl.If(gated.outputs["Output"] == True, name="better-than-every-baseline"):  # noqa: E712 - kfp builds a condition
            release = {"destination": destination, "service": service, "started_at": versioned.outputs["started_at"]}
            published = configure(publish(bundle=bundle, features=features, evaluation=evaluated.outputs["evaluation"], **release))
            published.set_caching_options(enable_caching=False)
            deployed = configure(deploy(address=published.output, destination=destination, service=service))
            deployed.set_caching_options(enable_caching=False)
        return Outputs(
            evaluation=evaluated.outputs["evaluation"],
            report=evaluated.outputs["report"],
            card=evaluated.outputs["card"],
            ingested=tables.outputs["report"],
            bundle=bundle,
            features=features,
        )

    return recommend


def _configure(task: dsl.PipelineTask, registry: str, memory: Mapping[str, str]) -> dsl.PipelineTask:
    """Set a task's image, resources and the environment variables of the stores that it reads."""
    step = task.name.replace("-", "_")
    with_resources(task.set_container_image(image_reference(ROLES[step], registry)), step, memory)
    if step in READS_STORE:
        kubernetes.use_secret_as_env(task, STORAGE, dict(zip(STORAGE_KEYS, STORAGE_KEYS, strict=True)), optional=True)
    if step == "publish":
        kubernetes.use_secret_as_env(task, STORAGE, dict(zip(ONLINE_KEYS, ONLINE_KEYS, strict=True)), optional=True)
    if step in READS_SETTING:
        kubernetes.use_config_map_as_env(task, SETTINGS, {READS_SETTING[step]: READS_SETTING[step]}, optional=True)
    if step == "train":
        for field in ("name", "uid", "namespace"):  # the owner reference of the training job
            kubernetes.use_field_path_as_env(task, f"{POD}{field.upper()}", f"metadata.{field}")
    return task

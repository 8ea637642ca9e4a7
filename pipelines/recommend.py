"""The pipeline: raw behaviour in, a released recommendation model out. Wiring only."""

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
from components.image import REGISTRY, reference
from components.ingest import ingest
from components.publish import publish
from components.train import train
from components.version import version
from pipelines.resources import with_resources

PIPELINE = "lodestar-recommend"
# What a cluster's owner may say of object store and online store; where either is absent, so are the variables.
STORAGE, STORAGE_KEYS = "lodestar-pipeline", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
SETTINGS, REDIS, TRAINING = "lodestar-settings", "LODESTAR_REDIS", "LODESTAR_TRAINING"
ONLINE_KEYS = ("LODESTAR_REDIS_LOGIN", "LODESTAR_REGISTRY")  # the second is an address with a password
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
    """What a run leaves to look at."""

    evaluation: Artifact
    report: HTML
    card: Markdown
    ingested: Markdown
    bundle: Model
    features: Dataset


def compile_to(target: Path, registry: str = REGISTRY, memory: Mapping[str, str] | None = None) -> None:
    """Write the pipeline as one YAML file, which is what runs; the same code gives the same bytes.

    `memory` has the sizes of steps that are to get another than `pipelines.resources` says.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(_pipeline(registry, memory or {}), str(target))


def _pipeline(registry: str, memory: Mapping[str, str]):  # type: ignore[no-untyped-def]
    @dsl.pipeline(name=PIPELINE, description="Raw behaviour in, a released recommendation model out.")
    def recommend(
        data: str = "simulator",
        quarantine: bool = False,
        recipe: str = "shop",
        overrides: dict[str, Any] = {},  # noqa: B006 - kfp writes the default into the file
        destination: str = "",
        service: str = "",
    ) -> Outputs:
        on = partial(_placed, registry=registry, memory=memory)
        how = {"recipe": recipe, "overrides": overrides}
        # What begins anew each time: a cached step must see the version alone, and never the moment.
        begun = on(version(data=data, destination=destination, service=service, **how)).set_caching_options(enable_caching=False)
        tables = on(ingest(data=data, data_version=begun.outputs["data_version"], quarantine=quarantine))
        features = on(build_features(tables=tables.outputs["tables"], **how)).outputs["features"]
        trained = on(train(features=features, image=reference("train", registry), **how)).outputs["bundle"]
        small = on(compress(features=features, bundle=trained, **how)).outputs["compressed"]
        judged = on(evaluate(features=features, bundle=small, uncompressed=trained, **how))
        allowed = on(gate(evaluation=judged.outputs["evaluation"]))
        with dsl.If(allowed.outputs["Output"] == True, name="better-than-every-baseline"):  # noqa: E712 - kfp builds a condition
            where = {"destination": destination, "service": service, "started_at": begun.outputs["started_at"]}
            out = on(publish(bundle=small, features=features, **where))
            out.set_caching_options(enable_caching=False)
            on(deploy(address=out.output, destination=destination, service=service)).set_caching_options(enable_caching=False)
        return Outputs(
            evaluation=judged.outputs["evaluation"],
            report=judged.outputs["report"],
            card=judged.outputs["card"],
            ingested=tables.outputs["report"],
            bundle=small,
            features=features,
        )

    return recommend


def _placed(task: dsl.PipelineTask, registry: str, memory: Mapping[str, str]) -> dsl.PipelineTask:
    """In the image of its role, with its resources and with what the cluster's owner says of the stores that it reads."""
    step = task.name.replace("-", "_")
    with_resources(task.set_container_image(reference(ROLES[step], registry)), step, memory)
    if step in READS_STORE:
        kubernetes.use_secret_as_env(task, STORAGE, dict(zip(STORAGE_KEYS, STORAGE_KEYS, strict=True)), optional=True)
    if step == "publish":
        kubernetes.use_secret_as_env(task, STORAGE, dict(zip(ONLINE_KEYS, ONLINE_KEYS, strict=True)), optional=True)
    if step in READS_SETTING:
        kubernetes.use_config_map_as_env(task, SETTINGS, {READS_SETTING[step]: READS_SETTING[step]}, optional=True)
    if step == "train":
        for field in ("name", "uid", "namespace"):  # by which a job knows whose it is
            kubernetes.use_field_path_as_env(task, f"LODESTAR_POD_{field.upper()}", f"metadata.{field}")
    return task

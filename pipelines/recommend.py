"""The pipeline: raw behaviour in, a released recommendation model out. Wiring only."""

from pathlib import Path
from typing import NamedTuple

from kfp import compiler, dsl, kubernetes
from kfp.dsl import HTML, Artifact, Dataset, Markdown, Model

from components.build_features import build_features
from components.compress import compress
from components.deploy import deploy
from components.evaluate import evaluate
from components.gate import gate
from components.image import REGISTRY, reference
from components.ingest import ingest
from components.train import train

PIPELINE = "lodestar-recommend"
CPU_REQUEST, MEMORY_REQUEST = "1", "2Gi"
# What a cluster's owner may say of object store and online store; where either is absent, so are the variables.
STORAGE, STORAGE_KEYS = "lodestar-pipeline", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
SETTINGS, REDIS, TRAINING = "lodestar-settings", "LODESTAR_REDIS", "LODESTAR_TRAINING"


class Outputs(NamedTuple):
    """What a run leaves to look at."""

    evaluation: Artifact
    report: HTML
    card: Markdown
    ingested: Markdown
    bundle: Model
    features: Dataset


def compile_to(target: Path, registry: str = REGISTRY) -> None:
    """Write the pipeline as one YAML file; the same code gives the same bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(_pipeline(registry), str(target))


def _pipeline(registry: str):  # type: ignore[no-untyped-def]
    @dsl.pipeline(name=PIPELINE, description="Raw behaviour in, a released recommendation model out.")
    def recommend(
        data: str = "simulator",
        data_version: str = "",
        recipe: str = "shop",
        overrides: str = "{}",
        destination: str = "/tmp/lodestar",  # noqa: S108 - the one folder that a step may write
        service: str = "",
    ) -> Outputs:
        def on(task, role: str):  # type: ignore[no-untyped-def]
            return task.set_container_image(reference(role, registry)).set_cpu_request(CPU_REQUEST).set_memory_request(MEMORY_REQUEST)

        tables = on(ingest(data=data, data_version=data_version), "features")
        _with_storage(tables)
        features = on(build_features(tables=tables.outputs["tables"], recipe=recipe, overrides=overrides), "features")
        kubernetes.use_config_map_as_env(features, SETTINGS, {REDIS: REDIS}, optional=True)
        how = {"features": features.outputs["features"], "recipe": recipe, "overrides": overrides}
        trained = on(train(image=reference("train", registry), **how), "train")
        _with_storage(trained)
        kubernetes.use_config_map_as_env(trained, SETTINGS, {TRAINING: TRAINING}, optional=True)
        judged = on(evaluate(bundle=trained.outputs["bundle"], **how), "train")
        small = on(compress(bundle=trained.outputs["bundle"], **how), "train")
        allowed = on(gate(evaluation=judged.outputs["evaluation"]), "launcher")
        with dsl.If(allowed.output == True, name="better-than-every-baseline"):  # noqa: E712 - kfp builds a condition
            out = on(
                deploy(bundle=small.outputs["compressed"], features=features.outputs["features"], destination=destination, service=service),
                "launcher",
            )
            out.set_caching_options(enable_caching=False)
            _with_storage(out)
        return Outputs(
            evaluation=judged.outputs["evaluation"],
            report=judged.outputs["report"],
            card=judged.outputs["card"],
            ingested=tables.outputs["report"],
            bundle=small.outputs["compressed"],
            features=features.outputs["features"],
        )

    return recommend


def _with_storage(task: dsl.PipelineTask) -> None:
    kubernetes.use_secret_as_env(task, STORAGE, dict(zip(STORAGE_KEYS, STORAGE_KEYS, strict=True)), optional=True)

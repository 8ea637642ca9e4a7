"""Run the compiled pipeline on this machine: kfp's local runner, no container, no cluster, unchanged steps taken from the cache."""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cli.view import RunView
from lodestar.data import address
from lodestar.errors import LodestarError, UsageError
from lodestar.storage import is_remote

WORK = ".pipeline"
LOG = "run.log"
CACHE_HIT = re.compile(r"Task (\S+) cache hit")


class StepFailedError(LodestarError):
    """A step ended with an error that it named itself; its exit code is passed on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The pipeline's parameters as the command line gives them."""

    data: str
    recipe: str
    overrides: str

    @property
    def data_version(self) -> str:
        """Changes when a local file does; the simulator's data never change."""
        asked = address.parse(self.data).path
        if asked.startswith("simulator"):
            return ""
        if is_remote(asked):
            return os.urandom(8).hex()
        path = Path(asked)
        if not path.exists():
            raise UsageError(f"no file or folder {asked}; give a folder of tables, a dataset's folder or one file of events")
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        stamps = (f"{file.relative_to(path.parent)} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files if file.is_file())
        return hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:16]

    @property
    def resolved_data(self) -> str:
        """The address with a path that holds in any working folder."""
        asked = address.parse(self.data)
        is_elsewhere = asked.path.startswith("simulator") or is_remote(asked.path)
        return self.data if is_elsewhere else str(replace(asked, path=str(Path(asked.path).resolve())))


def run(pipeline: Path, arguments: Arguments, output: Path) -> dict[str, Path]:
    """Run the file; what the pipeline returns, as local paths by name.

    A failing step raises StepFailedError; when it was the data's fault, a folder made for this run is removed again.
    """
    parameters = {
        "data": arguments.resolved_data,
        "data_version": arguments.data_version,
        "recipe": arguments.recipe,
        "overrides": arguments.overrides,
        "destination": str(output.resolve()),
        "service": "",
    }
    is_new = not (output / WORK).exists()
    (output / WORK).mkdir(parents=True, exist_ok=True)
    try:
        return _run(pipeline, parameters, output)
    except StepFailedError as error:
        if is_new and error.exit_code == 3:
            shutil.rmtree(output)
        raise


def _run(pipeline: Path, parameters: dict[str, str], output: Path) -> dict[str, Path]:
    from kfp import components, local

    os.environ.setdefault("LODESTAR_CHECKPOINTS", str((output / WORK / "checkpoints").resolve()))
    # Threads that wait for each other by spinning take the core from the one they wait for, where a machine does other work as well.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with (output / LOG).open("w") as log, RunView(log) as view, _captured(view), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(output / WORK), enable_caching=True)
        try:
            outputs = components.load_component_from_file(str(pipeline))(**parameters).outputs
        except RuntimeError as error:
            raise _failure(view, output / LOG) from error
    return {name: Path(artifact.path) for name, artifact in outputs.items()}


def _failure(view: RunView, log: Path) -> StepFailedError:
    if view.failure is not None:
        return StepFailedError(str(view.failure["error"]), int(view.failure["exit_code"]))
    shown = "\n".join(view.tail)
    return StepFailedError(f"a step ended unexpectedly; its last lines (all in {log}):\n{shown}", 1)


@contextlib.contextmanager
def _captured(view: RunView) -> Iterator[None]:
    handler = _CacheHits(view)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        with contextlib.redirect_stdout(view):
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


class _CacheHits(logging.Handler):
    def __init__(self, view: RunView) -> None:
        super().__init__()
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        hit = CACHE_HIT.search(record.getMessage())
        if hit:
            self._view.cached(re.sub(r"\x1b\[\d+m|'", "", hit.group(1)))


def ignored(pipeline: Path) -> list[str]:
    """What the compiled file asks of a cluster and a laptop does not give."""
    import yaml

    documents: list[dict[str, Any]] = list(yaml.safe_load_all(pipeline.read_text()))
    containers = [executor["container"] for executor in documents[0]["deploymentSpec"]["executors"].values()]
    notes = [f"{len({container['image'] for container in containers})} container images: steps run in this Python"]
    requests = sum("resources" in container for container in containers)
    if requests:
        notes.append(f"CPU and memory requests of {requests} steps")
    if len(documents) > 1:
        notes.append("Kubernetes settings of the platform document")
    return notes

"""Run the compiled pipeline on this machine: kfp's local runner, no container, no cluster, unchanged steps taken from the cache."""

import contextlib
import logging
import os
import re
import shutil
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.compiled import check_parameters
from cli.view import RunView
from components.termination import PARENT
from lodestar.data import address
from lodestar.data.simulator import is_simulated
from lodestar.errors import DataError, EnvironmentFault, LodestarError, UsageError
from lodestar.storage import is_remote, locked

WORK = ".pipeline"
LOG = "run.log"
ADVICE = {
    "SIGKILL": "Most often memory has run out: take fewer data, a smaller model or a larger machine; the same command goes on.",
    "SIGILL": "A library was made for another processor: install the packages anew on this machine.",
    "SIGBUS": "Most often a disk or /dev/shm is full, or a file became shorter while it was read: make room; the same command goes on.",
}
CACHE_HIT = re.compile(r"Task (\S+) cache hit")


class StepFailedError(LodestarError):
    """A step ended with an error that it named itself; its exit code is passed on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run(pipeline: Path, parameters: Mapping[str, Any], output: Path, *, is_cached: bool = True) -> dict[str, Path]:
    """Run that very file, with the output folder as destination; what the pipeline returns, as local paths by name.

    A failing step raises StepFailedError; when it was the data's or the caller's fault, what was made for this run is removed again.
    EnvironmentFault E513 where another run has the output folder.
    """
    check_parameters(pipeline, parameters)
    here = {**parameters, "data": _absolute(parameters["data"]), "destination": str(output.resolve())}
    made = [path for path in (output, output / WORK, output / LOG) if not path.exists()]
    with locked(output / WORK):
        try:
            return _run(pipeline, here, output, is_cached=is_cached)
        except StepFailedError as error:
            if error.exit_code in {UsageError.exit_code, DataError.exit_code}:
                _remove(made)
            raise


def _remove(made: Sequence[Path]) -> None:
    """Of an output folder that was there before, what was in it stays."""
    for path in made:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _absolute(data: str) -> str:
    """The address with a path that holds in any working folder."""
    asked = address.parse(data)
    is_elsewhere = is_simulated(asked.path) or is_remote(asked.path)
    return data if is_elsewhere else str(replace(asked, path=str(Path(asked.path).resolve())))


def _run(pipeline: Path, parameters: Mapping[str, Any], output: Path, *, is_cached: bool) -> dict[str, Path]:
    from kfp import components, local

    with (
        _environment(output),
        (output / LOG).open("w") as log,
        RunView(log) as view,
        _captured(view),
        _exit_codes(view),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(output / WORK), enable_caching=is_cached)
        try:
            outputs = components.load_component_from_text(_without_retries(pipeline.read_text()))(**parameters).outputs
        except RuntimeError as error:
            raise _failure(view, output / LOG) from error
    return {name: Path(artifact.path) for name, artifact in outputs.items()}


@contextlib.contextmanager
def _environment(output: Path) -> Iterator[None]:
    """What steps find in their environment: they import nothing of the working folder, which may hold anybody's data."""
    before = dict(os.environ)
    os.environ[PARENT], os.environ["PYTHONSAFEPATH"] = str(os.getpid()), "1"
    os.environ.setdefault("LODESTAR_CHECKPOINTS", str((output / WORK / "checkpoints").resolve()))
    # Threads that wait for each other by spinning take the core from the one they wait for, where a machine does other work as well.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _without_retries(compiled: str) -> str:
    """The compiled file's documents without retries: they are for nodes that go away, and here a bad row would be refused three times."""
    import yaml

    documents = list(yaml.safe_load_all(compiled))
    spec = documents[0]
    dags = [spec["root"]["dag"], *(component["dag"] for component in spec["components"].values() if "dag" in component)]
    for task in [task for dag in dags for task in dag["tasks"].values()]:
        task.pop("retryPolicy", None)
    return yaml.safe_dump_all(documents, sort_keys=False)


def _failure(view: RunView, log: Path) -> StepFailedError:
    if view.failure is not None:
        return StepFailedError(str(view.failure["error"]), int(view.failure["exit_code"]))
    if ended := _ended_by(view.exit_code):
        advice = ADVICE.get(ended, "See its log; the same command goes on from the last step that ended.")
        message = f"E188 {view.running or 'a step'} was ended by the signal {ended}, all it said is in {log}. {advice}"
        return StepFailedError(message, EnvironmentFault.exit_code)
    shown = "\n".join(view.tail)
    return StepFailedError(f"a step ended unexpectedly; its last lines (all in {log}):\n{shown}", 1)


def _ended_by(exit_code: int) -> str:
    """The name of the signal that ended a process, or the last command of a shell; empty where none did."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    return signal.Signals(number).name if number in set(signal.Signals) else ""


@contextlib.contextmanager
def _exit_codes(view: RunView) -> Iterator[None]:
    """Keep the exit code of each step, of which kfp's runner says only whether it is 0."""
    from kfp.local import subprocess_task_handler as runner

    run_step = runner.run_local_subprocess

    def kept(*arguments: Any, **options: Any) -> int:
        view.exit_code = run_step(*arguments, **options)
        return view.exit_code

    runner.run_local_subprocess = kept
    try:
        yield
    finally:
        runner.run_local_subprocess = run_step


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

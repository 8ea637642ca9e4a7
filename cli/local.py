"""Local run of the compiled pipeline with kfp's local runner: no container, no cluster, unchanged steps from the cache."""

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

from cli.pipeline_file import check_parameters
from cli.progress_view import COLOURS, RunView
from cli.run_eta import read_eta, write_durations
from lodestar.data.address import parse_address
from lodestar.data.simulator.simulator import is_simulated
from lodestar.errors import DataError, LodestarError, UsageError
from lodestar.io.private_folders import workspace
from lodestar.io.storage import is_remote, lock_folder
from lodestar.process.environment_variables import CHECKPOINTS, PARENT

WORK = ".pipeline"
LOG = "run.log"
ADVICE = {
    "SIGKILL": "Most often memory has run out: use less data, a smaller model or a larger machine; the same command resumes.",
    "SIGILL": "A library was built for another processor: reinstall the packages on this machine.",
    "SIGBUS": "Most often a disk or /dev/shm is full, or a file was truncated while it was read: free space; the same command resumes.",
}
CACHE_HIT = re.compile(r"Task (\S+) cache hit")


class StepFailedError(LodestarError):
    """A step failed; `exit_code` is the step's, or that of `code`."""

    def __init__(self, message: str, exit_code: int = 1, *, code: str = "") -> None:
        super().__init__(message, code=code)
        if not code:
            self.exit_code = exit_code


def run(pipeline: Path, parameters: Mapping[str, Any], output: Path, *, is_cached: bool = True) -> dict[str, Path]:
    """Run a compiled pipeline with the output folder as destination; returns the pipeline's output artifacts as local paths by name.

    Raises StepFailedError if a step fails (after a usage or data error, files created by this run are removed), EnvironmentFault E513 if
    another run uses the output folder.
    """
    check_parameters(pipeline, parameters)
    local_parameters = {**parameters, "data": _absolute(parameters["data"]), "destination": str(output.resolve())}
    new_paths = [path for path in (output, output / WORK, output / LOG) if not path.exists()]
    with lock_folder(output / WORK):
        try:
            return _run(pipeline, local_parameters, output, is_cached=is_cached)
        except StepFailedError as error:
            if error.exit_code in {UsageError.exit_code, DataError.exit_code}:
                _remove(new_paths)
            raise


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _absolute(data: str) -> str:
    """The data's address with an absolute path, since steps may run in another working directory."""
    address = parse_address(data)
    is_local = not (is_simulated(address.path) or is_remote(address.path))
    return str(replace(address, path=str(Path(address.path).resolve()))) if is_local else data


def _run(pipeline: Path, parameters: Mapping[str, Any], output: Path, *, is_cached: bool) -> dict[str, Path]:
    recipe = str(parameters.get("recipe", ""))
    eta = read_eta(output / WORK, recipe)
    with (
        workspace() as temporary,
        _environment(output, temporary),
        (output / LOG).open("w") as log,
        RunView(log, eta) as view,
        _capture_output(view),
        _record_exit_codes(view),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        from kfp import components, local  # takes seconds, while the view is shown

        folders = {"pipeline_root": str(output / WORK), "workspace_root": str(temporary)}
        local.init(local.SubprocessRunner(use_venv=False), **folders, enable_caching=is_cached)
        try:
            outputs = components.load_component_from_text(_without_retries(pipeline.read_text()))(**parameters).outputs
        except RuntimeError as error:
            raise _failure(view, output / LOG) from error
    write_durations(output / WORK, recipe, eta)
    return {name: Path(artifact.path) for name, artifact in outputs.items()}


@contextlib.contextmanager
def _environment(output: Path, temporary: Path) -> Iterator[None]:
    """What steps find in their environment: they import nothing of the working folder, which may hold anybody's data.

    Their temporary files go into `temporary`, since kfp creates a folder there for each step and never removes it.
    """
    before = dict(os.environ)
    os.environ["TMPDIR"] = str(temporary)
    os.environ[PARENT], os.environ["PYTHONSAFEPATH"] = str(os.getpid()), "1"
    os.environ.setdefault(CHECKPOINTS, str((output / WORK / "checkpoints").resolve()))
    # Threads that wait for each other by spinning take the core from the one they wait for, where a machine does other work as well.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _without_retries(compiled: str) -> str:
    """The compiled pipeline without retries: they are for lost nodes, and a local run would only repeat the same error."""
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
        advice = ADVICE.get(ended, "See its log; the same command resumes from the last finished step.")
        message = f"{view.running or 'a step'} was ended by the signal {ended}; its log is {log}. {advice}"
        return StepFailedError(message, code="E188")
    tail = "\n".join(view.tail)
    return StepFailedError(f"a step ended unexpectedly; its last lines (complete log: {log}):\n{tail}")


def _ended_by(exit_code: int) -> str:
    """Name of the signal that ended a process, from its (or a shell's) exit code; empty if none did."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    return signal.Signals(number).name if number in set(signal.Signals) else ""


@contextlib.contextmanager
def _record_exit_codes(view: RunView) -> Iterator[None]:
    """Record the exit code of each step, since kfp's runner reports only success or failure."""
    from kfp.local import subprocess_task_handler as runner

    run_step = runner.run_local_subprocess

    def run_and_record(*arguments: Any, **options: Any) -> int:
        view.exit_code = run_step(*arguments, **options)
        return view.exit_code

    runner.run_local_subprocess = run_and_record
    try:
        yield
    finally:
        runner.run_local_subprocess = run_step


@contextlib.contextmanager
def _capture_output(view: RunView) -> Iterator[None]:
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
    """Log handler that reports kfp's cache hits to the view."""

    def __init__(self, view: RunView) -> None:
        super().__init__()
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        hit = CACHE_HIT.search(COLOURS.sub("", record.getMessage()))
        if hit:
            self._view.cached(hit.group(1))

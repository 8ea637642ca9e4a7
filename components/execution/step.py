"""Execution of a step: structured log lines, exit codes for known errors, checks of inputs and outputs, and cleanup after failure.

The Pipelines launcher downloads inputs and uploads outputs, but it detects neither a missing input nor an output that was not written.
"""

import logging
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar.errors import EnvironmentFault, LodestarError
from lodestar.io.exits import WRONG_PATH_ERRNOS, fault_of
from lodestar.process.descendants import exit_on_sigterm
from lodestar.process.environment_variables import REDIS
from lodestar.process.safe_text import log_to_stderr
from lodestar.progress import log_event

if TYPE_CHECKING:
    from kfp.dsl import Artifact


@contextmanager
def step(name: str, *, inputs: Sequence["Artifact"] = (), outputs: Sequence["Artifact"] = ()) -> Iterator[None]:
    """Context of a step: logs `started` and `finished` or `failed`, and ends with a LodestarError's exit code, or 143 after SIGTERM.

    Fails with EnvironmentFault E543 if an input is missing, E544 if an output was not written. A failed step leaves no outputs.
    """
    log_to_stderr(logging.INFO)
    started = time.monotonic()
    log_event("started", step=name)
    try:
        with exit_on_sigterm():
            _check_inputs(name, inputs)
            yield
            _check_outputs(name, outputs)
    except LodestarError as error:
        _remove(outputs)
        raise _failed(name, error) from None
    except OSError as error:
        _remove(outputs)
        if (fault := _fault(name, inputs, error)) is None:
            raise
        raise _failed(name, fault) from error
    except BaseException as error:
        _remove(outputs)
        log_event("interrupted", step=name, kind=type(error).__name__)
        raise
    log_event("finished", step=name, seconds=round(time.monotonic() - started, 2), peak_memory_mib=_peak_memory_mib())


def _fault(name: str, inputs: Sequence["Artifact"], error: OSError) -> LodestarError | None:
    """The coded error that an error of the operating system is, E543 for a lost input; None for another wrong path, a fault of ours."""
    lost = next((artifact for artifact in inputs if _holds(artifact, error.filename)), None)
    if lost is not None and isinstance(error, FileNotFoundError):
        return _missing_input(name, lost, f", of which {error.filename} is missing")
    return None if error.errno in WRONG_PATH_ERRNOS else fault_of(error)


def now() -> str:
    """Current time, UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def has_redis() -> bool:
    """Whether the online store is Redis (LODESTAR_REDIS is set, which the feature store's configuration reads too)."""
    return bool(os.environ.get(REDIS))


def _peak_memory_mib() -> int:
    """Peak resident memory of this process in MiB, to choose memory limits by."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20


def _failed(name: str, error: LodestarError) -> SystemExit:
    log_event("failed", step=name, error=str(error), kind=type(error).__name__, exit_code=error.exit_code)
    return SystemExit(error.exit_code)


def _check_inputs(name: str, inputs: Sequence["Artifact"]) -> None:
    for artifact in inputs:
        if not Path(artifact.path).exists():
            raise _missing_input(name, artifact, "")


def _missing_input(name: str, artifact: "Artifact", detail: str) -> EnvironmentFault:
    return EnvironmentFault(
        "E543",
        f"an input of {name} is missing: {artifact.uri}{detail}",
        remedy="An earlier run wrote it, the cache still refers to it, and it was deleted from the store since. Run your command again "
        "with `?cache=2` at the end of the data's address (`&cache=2` after another `?`, another text if there is one), as in "
        "--data 's3://bucket/events/?cache=2' or data='s3://bucket/events/?cache=2': all steps run anew. Leave it there, in recurring "
        "runs too, and let the store retain artifacts as long as the cache refers to them.",
    )


def _holds(artifact: "Artifact", file: object) -> bool:
    return isinstance(file, str | Path) and Path(file).is_relative_to(artifact.path)


def _check_outputs(name: str, outputs: Sequence["Artifact"]) -> None:
    for artifact in outputs:
        if not Path(artifact.path).exists():
            raise EnvironmentFault("E544", f"{name} wrote nothing to {artifact.path}", remedy="Run it again; if it fails again, report it.")


def _remove(outputs: Sequence["Artifact"]) -> None:
    for path in (Path(artifact.path) for artifact in outputs):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

"""What every step does around its work: say when it starts and ends, turn a known error into its code, and leave nothing half-made.

A Pipelines launcher brings inputs and takes outputs away; it neither notices that an input is gone nor that an output was never written.
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

from components.termination import unwinding
from lodestar.errors import EnvironmentFault, LodestarError
from lodestar.progress import log_event
from lodestar.safe_text import log_to_stderr

if TYPE_CHECKING:
    from kfp.dsl import Artifact


@contextmanager
def step(name: str, *, inputs: Sequence["Artifact"] = (), outputs: Sequence["Artifact"] = ()) -> Iterator[None]:
    """Bracket a step's work with structured lines; a LodestarError leaves as its exit code, SIGTERM as 143.

    EnvironmentFault E543 where an input is gone, E544 where an output was not written. A step that does not end well leaves no outputs.
    """
    log_to_stderr(logging.INFO)
    started = time.monotonic()
    log_event("started", step=name)
    try:
        with unwinding():
            _check_inputs(name, inputs)
            yield
            _check_outputs(name, outputs)
    except LodestarError as error:
        _remove(outputs)
        raise _failed(name, error) from None
    except FileNotFoundError as error:
        _remove(outputs)
        lost = next((artifact for artifact in inputs if _holds(artifact, error.filename)), None)
        if lost is None:
            raise
        raise _failed(name, _gone(name, lost, f", of which {error.filename} is missing")) from error
    except BaseException as error:
        _remove(outputs)
        log_event("interrupted", step=name, kind=type(error).__name__)
        raise
    log_event("finished", step=name, seconds=round(time.monotonic() - started, 2), peak_memory_mib=_peak_memory_mib())


def now() -> str:
    """The moment, UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def has_redis() -> bool:
    """Whether features go online in Redis, which the feature store's configuration reads from the same variable."""
    return bool(os.environ.get("LODESTAR_REDIS"))


def _peak_memory_mib() -> int:
    """The most that this process has had resident, by which its memory limit is to be chosen."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20


def _failed(name: str, error: LodestarError) -> SystemExit:
    log_event("failed", step=name, error=str(error), kind=type(error).__name__, exit_code=error.exit_code)
    return SystemExit(error.exit_code)


def _check_inputs(name: str, inputs: Sequence["Artifact"]) -> None:
    for artifact in inputs:
        if not Path(artifact.path).exists():
            raise _gone(name, artifact, "")


def _gone(name: str, artifact: "Artifact", what: str) -> EnvironmentFault:
    return EnvironmentFault(
        "E543",
        f"an input of {name} is gone: {artifact.uri}{what}",
        remedy="An earlier run made it, the cache knows it, and its store has deleted it since. Run your own command again with "
        "`?cache=2` at the end of the data's address (`&cache=2` behind another `?`, another text where there is one), as in "
        "--data 's3://bucket/events/?cache=2' or data='s3://bucket/events/?cache=2': all steps run anew. Leave it there, in recurring "
        "runs too, and let the store keep artifacts as long as the cache knows them.",
    )


def _holds(artifact: "Artifact", file: object) -> bool:
    return isinstance(file, str | Path) and Path(file).is_relative_to(artifact.path)


def _check_outputs(name: str, outputs: Sequence["Artifact"]) -> None:
    for artifact in outputs:
        if not Path(artifact.path).exists():
            raise EnvironmentFault("E544", f"{name} wrote nothing to {artifact.path}", remedy="Run it again; if it stays so, report it.")


def _remove(outputs: Sequence["Artifact"]) -> None:
    for path in (Path(artifact.path) for artifact in outputs):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

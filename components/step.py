"""What every step does around its work: say when it starts and ends, and turn a known error into its code, not a stack trace."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lodestar.errors import LodestarError
from lodestar.progress import log_event


@contextmanager
def step(name: str) -> Iterator[None]:
    """Bracket a step's work with structured lines; a LodestarError leaves as its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    started = time.monotonic()
    log_event("started", step=name)
    try:
        yield
    except LodestarError as error:
        log_event("failed", step=name, error=str(error), kind=type(error).__name__, exit_code=error.exit_code)
        raise SystemExit(error.exit_code) from None
    log_event("finished", step=name, seconds=round(time.monotonic() - started, 2))


def checkpoints() -> str:
    """Where training keeps what it needs to go on after an interruption."""
    return os.environ.get("LODESTAR_CHECKPOINTS", "/tmp/lodestar/checkpoints")  # noqa: S108 - the one folder a pod may write


def training() -> str:
    """Empty to train in this process, or a JSON object such as `{"gpus": 1}` for a job of pods (`components.jobs.as_asked`)."""
    return os.environ.get("LODESTAR_TRAINING", "")


def has_redis() -> bool:
    """Whether features go online in Redis, which the feature store's configuration reads from the same variable."""
    return bool(os.environ.get("LODESTAR_REDIS"))

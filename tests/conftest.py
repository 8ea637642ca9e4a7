"""Settings of all tests: how long an example takes says something of the machine and nothing of the code."""

import os

# One thread each: models of tests are tiny, and threads spent the time waiting for each other (test_blending: 59 s of CPU, and 17 by one).
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
from collections.abc import Iterator

import prometheus_client  # noqa: F401  first: Feast, as it is imported, has it keep values in files, which no process that serves does
import pytest
from hypothesis import settings

from tests import shape_checks

shape_checks.install()  # before any test imports the library
settings.register_profile("lodestar", deadline=None)
settings.load_profile("lodestar")


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A test that leaves SIGTERM blocked or ignored has every later one's children wait for ever: it fails itself instead."""
    before = _heard()
    yield
    assert _heard() == before


def _heard() -> tuple[object, ...]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

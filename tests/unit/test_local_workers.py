"""Cores of one machine are shared out between processes that compute side by side, unless the user says how many threads each has."""

import pytest

from lodestar.training.distributed import local_workers


@pytest.mark.parametrize(("processes", "expected"), [(1, 6), (2, 3), (4, 1), (9, 1)])
def test_processes_share_the_cores(processes: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(local_workers, "available_cores", lambda: 6)
    assert local_workers.threads(processes) == expected


def test_the_number_that_the_user_set_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert local_workers.threads() == local_workers.threads(4) == 5

"""What several unit tests stand on."""

from typing import Any

import pytest

from serving.rollout import rollout
from tests.unit.rollout_fakes import FakeApiServer


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A rollout's commands speak to the API server in memory that this is called with; it is returned."""

    def used(api: FakeApiServer) -> FakeApiServer:
        monkeypatch.setattr(rollout, "connect", lambda _service: api)
        return api

    return used

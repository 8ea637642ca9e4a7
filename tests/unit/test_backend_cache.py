"""The cluster tests' backend keeps a step in its cache, and takes it from there, where caching is on for it and only there."""

from dataclasses import replace
from typing import Any

import pytest

from tests.cluster.backend import driver
from tests.cluster.backend.driver import Backend, TaskResult

SPEC: dict[str, Any] = {"deploymentSpec": {"executors": {"exec-a": {"container": {"image": "i"}}}}}
COMPONENT: dict[str, Any] = {"executorLabel": "exec-a"}


def test_a_step_that_is_not_cached_changes_no_entry_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(1, 9))

    def attempt(_run: object, name: str, *_rest: object) -> TaskResult:
        return TaskResult(name=name, state="succeeded", parameters={"number": next(numbers)})

    monkeypatch.setattr(driver._Run, "_attempt", attempt)
    run = driver._Run(Backend("s3://b/root"), SPEC, {}, "run-1")

    def step(*, is_cached: bool) -> TaskResult:
        return run._step("a", {"cachingOptions": {"enableCache": True} if is_cached else {}}, COMPONENT, {}, {})

    assert step(is_cached=False).parameters == {"number": 1}
    first = step(is_cached=True)
    assert (first.state, first.parameters) == ("succeeded", {"number": 2})
    assert step(is_cached=False).parameters == {"number": 3}
    assert step(is_cached=True) == replace(first, state="cached")

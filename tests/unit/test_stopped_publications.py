"""A publication that is stopped at any of its system calls leaves the old version or the new, where folders cannot be exchanged too."""

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lodestar.io import atomic_publish, storage
from tests.unit.test_storage import publish, refuse_exchange


def _sigkill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _sigterm() -> None:
    raise SystemExit(143)


@pytest.mark.parametrize("versions", [["old"], ["older", "old"]], ids=["a folder", "a link"])
@pytest.mark.parametrize("stop", [_sigkill, _sigterm])
def test_a_switch_of_links_that_is_stopped_at_any_call_loses_nothing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: list[str], stop: Callable[[], None]
) -> None:
    monkeypatch.setattr(atomic_publish, "_exchange", refuse_exchange)
    number, was_stopped = 0, True
    while was_stopped:
        number += 1
        target = tmp_path / str(number) / "out"
        for content in versions:
            publish(target, content)
        was_stopped = _is_stopped_at(number, stop, lambda: publish(target, "new"))  # noqa: B023  # called at once
        assert stop is _sigkill or (target / "a").read_text() in {"old", "new"}
        with pytest.raises(ZeroDivisionError), storage.publish_folder(target):
            raise ZeroDivisionError
        assert (target / "a").read_text() in {"old", "new"}
        assert len(list(target.parent.iterdir())) == 1 + target.is_symlink()
    assert number > 5


def _is_stopped_at(number: int, stop: Callable[[], None], work: Callable[[], None]) -> bool:
    """Let a process work, and stop it where it would change a name for the `number`th time; whether it came so far."""
    if child := os.fork():
        return os.waitpid(child, 0)[1] != 0
    calls = itertools.count(1)

    def stopped(call: Callable[..., None]) -> Callable[..., None]:
        def made(*arguments: Path, **options: int) -> None:
            if next(calls) == number:
                stop()
            call(*arguments, **options)

        return made

    for name in ("mkdir", "rename", "replace", "symlink", "unlink", "rmdir"):
        setattr(os, name, stopped(getattr(os, name)))
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)

"""A step hears SIGTERM, run as it is compiled, and takes back what it made."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.execution.signals import exec_python
from components.train import train
from lodestar.process.descendants import exit_on_sigterm
from lodestar.process.termination import SIGNALS, TERMINATED, exit_on_termination, undo_on_termination

# The signal goes to the process that was started, as Kubernetes sends it to the first one of a container.
BODY = """
import os, signal, sys
from pathlib import Path
from lodestar.process.termination import undo_on_termination
with undo_on_termination(lambda: Path(sys.argv[-1]).write_text("undone")):
    os.kill(PARENT, signal.SIGTERM)
    signal.sigtimedwait([signal.SIGUSR1], 5)
"""


def command(component: object) -> list[str]:
    return list(component.component_spec.implementation.container.command)  # type: ignore[attr-defined]


def test_a_compiled_step_is_python_and_not_a_child_of_a_shell(tmp_path: Path) -> None:
    shell, flags, script, _ = command(train)
    module = tmp_path / "kfp" / "dsl"
    module.mkdir(parents=True)
    module.joinpath("executor_main.py").write_text(BODY.replace("PARENT", "int(sys.argv[-2])"))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    for folder in (module.parent, module):
        folder.joinpath("__init__.py").touch()
    script = 'set -- $$ "$@"\n' + script.replace("python3", sys.executable).replace('"$@"', f'"$@" "$1" {tmp_path / "undone"}')
    done = subprocess.run([shell, flags, script, "source"], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == TERMINATED, done.stderr
    assert (tmp_path / "undone").read_text() == "undone"


def test_a_way_of_starting_that_is_not_known_is_refused() -> None:
    container = SimpleNamespace(command=["python", "-m", "other"])
    other = SimpleNamespace(component_spec=SimpleNamespace(implementation=SimpleNamespace(container=container)))
    with pytest.raises(RuntimeError, match="unknown command"):
        exec_python(other)


def test_a_second_signal_does_not_stop_the_undoing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    undone = []

    def undo() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        undone.append("all of it")

    with pytest.raises(SystemExit) as ended, undo_on_termination(undo):
        os.kill(os.getpid(), signal.SIGTERM)
    assert (ended.value.code, undone) == (TERMINATED, ["all of it"])
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("context", [exit_on_sigterm, exit_on_termination, lambda: undo_on_termination(lambda: None)])
def test_a_handler_that_python_did_not_set_is_no_error_at_the_end(
    context: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that embeds Python may have one; Python says None of it, and cannot set it again."""
    set_handler, before = signal.signal, {number: signal.getsignal(number) for number in SIGNALS}

    def of_another(number: int, handler: Any) -> None:
        set_handler(number, handler)

    with monkeypatch.context() as patched:
        patched.setattr(signal, "signal", of_another)
        patched.setattr(signal, "getsignal", lambda _: None)
        with context():
            pass
    found = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        set_handler(number, handler)
    assert all(handler in {signal.SIG_DFL, before[number]} for number, handler in found.items())


def test_what_ends_well_is_kept() -> None:
    with undo_on_termination(lambda: pytest.fail("nothing was to be undone")):
        pass

"""SIGTERM reaches a step, and what the step made is taken back before it ends.

Kubeflow Pipelines runs a step's Python as the child of a shell. Kubernetes and Argo signal that shell, or the first process of the
container, and neither passes the signal on: without `reachable` a terminated step would never know.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

TERMINATED = 128 + signal.SIGTERM
SHELL, PYTHON = "_KFP_RUNTIME=true python3", "_KFP_RUNTIME=true exec python3"

Component = TypeVar("Component")


def reachable(component: Component) -> Component:
    """The same component, whose Python takes the place of the shell that starts it and gets its signals."""
    container: Any = component.component_spec.implementation.container  # type: ignore[attr-defined]
    container.command = [part.replace(SHELL, PYTHON) for part in container.command]
    if not any(PYTHON in part for part in container.command):
        raise RuntimeError("kfp starts the Python of a component in another way than this knows")
    return component


@contextmanager
def taken_back(undo: Callable[[], None]) -> Iterator[None]:
    """While inside, SIGTERM and Ctrl-C run `undo` before this process ends, with 143 after SIGTERM; a second SIGTERM changes nothing.

    Only the main thread hears signals; elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        undo()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_signal: int, _frame: FrameType | None) -> Any:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the second is not to interrupt what the first one started
    raise SystemExit(TERMINATED)

"""Shapes at run time: jaxtyping's import hook, with beartype, in every room that handles arrays."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import install_import_hook

ROOMS = (
    "lodestar.bundle",
    "lodestar.compression",
    "lodestar.data.contract.cells.traits",
    "lodestar.data.readers.json_objects.lines",
    "lodestar.data.simulator",
    "lodestar.data.split",
    "lodestar.engine",
    "lodestar.evaluation",
    "lodestar.features.asof",
    "lodestar.features.batch",
    "lodestar.features.text",
    "lodestar.io.npz",
    "lodestar.metrics",
    "lodestar.models",
    "lodestar.monitoring",
    "lodestar.schema.ranker_inputs",
    "lodestar.training",
    "serving.feature_log",
    "serving.features.packed_reader",
)


def install() -> None:
    """Check shapes in `ROOMS` from their first import on."""
    install_import_hook(ROOMS, f"{__name__}.{check.__name__}")


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Beartype for annotations that have a shape; mypy has checked the others, which would double the time of imports.

    A graph that is being traced for ONNX is let through: its sizes are tensors, and a check would become a part of it.
    """
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if "jaxtyping." in repr(hint)}
    if not function.__annotations__:
        return function
    checked = beartype(function)

    @functools.wraps(function)
    def unless_traced(*args: Any, **keywords: Any) -> Any:
        torch = sys.modules.get("torch")
        return None if torch is not None and torch.jit.is_tracing() else checked(*args, **keywords)

    return unless_traced

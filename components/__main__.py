"""`python -m components STEP --help`: a pipeline's step as a plain command, with paths where the pipeline has artifacts."""

import argparse
import inspect
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from kfp import dsl

from components.steps import STEPS
from lodestar.storage import is_remote


def main(arguments: list[str] | None = None) -> int:
    """Run one step in this process."""
    parser = argparse.ArgumentParser(prog="python -m components", description="Run one step of the pipeline.")
    commands = parser.add_subparsers(required=True, metavar="STEP", dest="step")
    for name in STEPS:
        _add(commands, name)
    options = vars(parser.parse_args(arguments))
    body = _body(options.pop("step"))
    given = {name: _value(_annotation(body, name), value) for name, value in options.items()}
    unset = {name: dsl.TaskConfig() for name in inspect.signature(body).parameters if _annotation(body, name) is dsl.TaskConfig}
    result = body(**given, **unset)
    if result is not None:
        print(result)  # noqa: T201 - a step's answer is its output
    return 0


def _add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str) -> None:
    body = _body(name)
    text = inspect.getdoc(body) or ""
    summary, _, described = text.partition("\n\nArgs:\n")
    lines = (line.strip().partition(": ") for line in described.splitlines())
    meanings = {argument: meaning for argument, _, meaning in lines}
    command = commands.add_parser(name, help=summary.splitlines()[0], description=summary)
    for argument in inspect.signature(body).parameters:
        if _annotation(body, argument) is dsl.TaskConfig:  # a Pipelines backend fills it
            continue
        is_artifact = _artifact(_annotation(body, argument)) is not None
        command.add_argument(
            f"--{argument}", required=True, metavar="PATH" if is_artifact else "TEXT", help=meanings.get(argument, "").replace("%", "%%")
        )


def _body(name: str) -> Callable[..., Any]:
    component: Any = getattr(import_module(f"components.{name}"), name)
    return component.python_func  # type: ignore[no-any-return]


def _annotation(body: Callable[..., Any], name: str) -> Any:
    return get_type_hints(body, include_extras=True)[name]


def _artifact(annotation: Any) -> type[dsl.Artifact] | None:
    kinds = get_args(annotation)
    return kinds[0] if kinds and isinstance(kinds[0], type) and issubclass(kinds[0], dsl.Artifact) else None


def _value(annotation: Any, value: str) -> Any:
    kind = _artifact(annotation)
    if kind is None:
        return value if annotation is str else _parsed(annotation, value)
    if is_remote(value):
        return kind(name=value.rpartition("/")[2], uri=value, metadata={})
    path = Path(value).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return kind(name=path.name, uri=str(path), metadata={})


def _parsed(annotation: Any, value: str) -> Any:
    """A parameter that is no text, as Pipelines writes it: `true`, or a JSON object."""
    try:
        found = json.loads(value)
    except json.JSONDecodeError:
        found = None
    kind = get_origin(annotation) or annotation
    if not isinstance(found, kind):
        raise SystemExit(f"{value!r} is no {'JSON object' if kind is dict else 'true or false'}")
    return found


if __name__ == "__main__":
    sys.exit(main())

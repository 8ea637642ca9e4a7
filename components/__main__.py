"""`python -m components STEP --help`: a pipeline's step as a plain command, with paths where the pipeline has artifacts.

An input may be at an `s3://` address as well: it lies in a folder of this account's alone for as long as the step runs.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, get_args, get_origin, get_type_hints

from kfp import dsl
from kfp.dsl.types.type_annotations import is_artifact_wrapped_in_Output

from components.steps import STEPS
from components.termination import unwinding
from lodestar import storage
from lodestar.errors import LodestarError, UsageError
from lodestar.private import workspace
from lodestar.safe_text import command, warn

ADDRESSES = "What a step takes is a path or an s3:// address, which is brought here while it runs; what it makes is a path."


def main(arguments: list[str] | None = None) -> int:
    """Run one step in this process."""
    parser = argparse.ArgumentParser(prog="python -m components", description="Run one step of the pipeline.")
    commands = parser.add_subparsers(required=True, metavar="STEP", dest="step")
    for name in STEPS:
        _add(commands, name)
    options = vars(parser.parse_args(arguments))
    try:
        with unwinding(), workspace() as work:
            _run(_body(options.pop("step")), options, work)
    except LodestarError as error:
        warn(f"{parser.prog}: {error}\n")
        return error.exit_code
    return 0


def _run(body: Callable[..., Any], options: Mapping[str, str], work: Path) -> None:
    """Run a step's body; what it takes from S3 is brought to `work`. Nothing is brought where an output is refused."""
    kinds = {name: _annotation(body, name) for name in inspect.signature(body).parameters}
    outputs = {name: _output(kinds[name], name, value) for name, value in options.items() if is_artifact_wrapped_in_Output(kinds[name])}
    given = {name: outputs.get(name) or _value(kinds[name], value, work / name) for name, value in options.items()}
    unset = {name: dsl.TaskConfig() for name, kind in kinds.items() if kind is dsl.TaskConfig}
    result = body(**given, **unset)
    if result is not None:
        print(result)  # noqa: T201 - a step's answer is its output


def _add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str) -> None:
    body = _body(name)
    text = inspect.getdoc(body) or ""
    summary, _, described = text.partition("\n\nArgs:\n")
    lines = (line.strip().partition(": ") for line in described.splitlines())
    meanings = {argument: meaning for argument, _, meaning in lines}
    parser = commands.add_parser(name, help=summary.splitlines()[0], description=summary, epilog=ADDRESSES)
    for argument in inspect.signature(body).parameters:
        if _annotation(body, argument) is dsl.TaskConfig:  # a Pipelines backend fills it
            continue
        is_artifact = _artifact(_annotation(body, argument)) is not None
        parser.add_argument(
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


def _output(annotation: Any, name: str, value: str) -> dsl.Artifact:
    """The artifact that a step writes; UsageError with E576 where it is not on this machine: nobody brings it away from here."""
    if "://" in value:
        here = command([f"--{name}", f"./{PurePosixPath(value).name}"])
        raise UsageError(
            f"E576 --{name} {value} is no local path, and a step that is run by hand leaves what it makes on this machine. "
            f"Give {here}, and copy it there when the step has ended."
        )
    path = Path(value).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return get_args(annotation)[0](name=path.name, uri=str(path), metadata={})


def _value(annotation: Any, value: str, work: Path) -> Any:
    kind = _artifact(annotation)
    if kind is None:
        return value if annotation is str else _parsed(annotation, value)
    is_elsewhere = storage.is_remote(value)
    path = storage.fetch(value, work) if is_elsewhere else Path(value).absolute()
    found = kind(name=path.name, uri=value if is_elsewhere else str(path), metadata={})
    found.custom_path = str(path)
    return found


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

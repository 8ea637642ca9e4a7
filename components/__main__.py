"""`lodestar step STEP`, or `python -m components STEP`: run a pipeline step as a plain command, with paths in place of artifacts.

An input may be an `s3://` address: it is downloaded into a private temporary folder for the duration of the step.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, get_args, get_origin, get_type_hints

from kfp import dsl
from kfp.dsl.types.type_annotations import is_artifact_wrapped_in_Output

from components.execution.step_order import STEPS
from lodestar.errors import UsageError
from lodestar.io import storage
from lodestar.io.exits import run_command
from lodestar.io.private_folders import workspace
from lodestar.process.command_line import WRONG_USAGE, Parser
from lodestar.process.descendants import exit_on_sigterm
from lodestar.process.safe_text import command, quoted

PROGRAM = "lodestar step"
ADDRESSES = "Inputs are paths or s3:// addresses, which are downloaded for the run; outputs are paths."


def main(arguments: list[str] | None = None) -> int:
    """Run one step in this process; returns its exit code (0 ok, 2 usage, 3 data, 4 gate, 5 environment)."""
    options = vars(parser().parse_args(arguments))
    return run_command(PROGRAM, partial(_run_in_workspace, _body(options.pop("step")), options))


def parser() -> Parser:
    """The parser of `lodestar step`."""
    parser = Parser(
        prog=PROGRAM,
        description="Run one step of the pipeline by hand. Its options are the step's parameters and artifacts in the pipeline.",
        examples=["lodestar step gate --evaluation ./evaluation --verdict ./verdict.md", "lodestar step train --help"],
    )
    commands = parser.add_subparsers(required=True, metavar="STEP", dest="step")
    for name in STEPS:
        _add_step(commands, name)
    return parser


def _run_in_workspace(body: Callable[..., Any], options: Mapping[str, str]) -> int:
    with exit_on_sigterm(), workspace() as work:
        _run(body, options, work)
    return 0


def _run(body: Callable[..., Any], options: Mapping[str, str], work: Path) -> None:
    """Run a step's body; inputs in S3 are downloaded to `work`, after the outputs have been checked."""
    kinds = {name: _annotation(body, name) for name in inspect.signature(body).parameters}
    options = {name: value for name, value in options.items() if value is not None}  # the others keep their defaults
    outputs = {name: _output(kinds[name], name, value) for name, value in options.items() if is_artifact_wrapped_in_Output(kinds[name])}
    values = {name: outputs.get(name) or _value(kinds[name], value, work / name) for name, value in options.items()}
    task_configs = {name: dsl.TaskConfig() for name, kind in kinds.items() if kind is dsl.TaskConfig}
    result = body(**values, **task_configs)
    if result is not None:
        print(result)  # noqa: T201 - the step's result is the command's output


def _add_step(commands: "argparse._SubParsersAction[Parser]", name: str) -> None:
    body = _body(name)
    text = inspect.getdoc(body) or ""
    summary, _, described = text.partition("\n\nArgs:\n")
    lines = (line.strip().partition(": ") for line in described.splitlines())
    meanings = {argument: meaning for argument, _, meaning in lines}
    parameters = inspect.signature(body).parameters
    kinds = {argument: _annotation(body, argument) for argument in parameters}
    given = {argument: kind for argument, kind in kinds.items() if kind is not dsl.TaskConfig}  # a Pipelines backend fills it
    example = command([*PROGRAM.split(), name, *(word for argument, kind in given.items() for word in _example(argument, kind))])
    step = commands.add_parser(name, help=summary.splitlines()[0], description=summary, epilog=ADDRESSES, examples=[example])
    for argument, kind in given.items():
        meaning = meanings.get(argument, "").replace("%", "%%")
        is_required = parameters[argument].default is inspect.Parameter.empty
        step.add_argument(f"--{argument}", required=is_required, metavar=_metavar(kind), help=meaning.rstrip("."))


def _metavar(kind: Any) -> str:
    if _artifact(kind) is not None:
        return "PATH"
    return {str: "TEXT", bool: "true|false"}.get(kind, "JSON")


def _example(argument: str, kind: Any) -> tuple[str, str]:
    values = {"recipe": "shop", "data": "simulator", "data_version": "1", "started_at": "2026-01-01T00:00:00Z"}
    return f"--{argument}", values.get(argument, {"PATH": f"./{argument}", "JSON": "{}", "true|false": "false"}.get(_metavar(kind), ""))


def _body(name: str) -> Callable[..., Any]:
    component: Any = getattr(import_module(f"components.{name}"), name)
    return component.python_func  # type: ignore[no-any-return]


def _annotation(body: Callable[..., Any], name: str) -> Any:
    return get_type_hints(body, include_extras=True)[name]


def _artifact(annotation: Any) -> type[dsl.Artifact] | None:
    kinds = get_args(annotation)
    return kinds[0] if kinds and isinstance(kinds[0], type) and issubclass(kinds[0], dsl.Artifact) else None


def _output(annotation: Any, name: str, value: str) -> dsl.Artifact:
    """The artifact of an output path; raises UsageError E576 for an address, since outputs are not uploaded here."""
    if "://" in value:
        local = command([f"--{name}", f"./{PurePosixPath(value).name}"])
        raise UsageError(
            f"--{name} {value} is not a local path, and a step run by hand writes its outputs on this machine. "
            f"Give {local}, and copy it there when the step has ended.",
            code="E576",
        )
    path = Path(value).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return get_args(annotation)[0](name=path.name, uri=str(path), metadata={})


def _value(annotation: Any, value: str, work: Path) -> Any:
    kind = _artifact(annotation)
    if kind is None:
        return value if annotation is str else _parse(annotation, value)
    is_remote = storage.is_remote(value)
    path = storage.fetch(value, work) if is_remote else Path(value).absolute()
    found = kind(name=path.name, uri=value if is_remote else str(path), metadata={})
    found.custom_path = str(path)
    return found


def _parse(annotation: Any, value: str) -> Any:
    """Parse a parameter that is not a string, in the JSON form of Pipelines: `true`, or a JSON object; else UsageError E300."""
    try:
        found = json.loads(value)
    except json.JSONDecodeError:
        found = None
    kind = get_origin(annotation) or annotation
    if not isinstance(found, kind):
        raise UsageError(f"{quoted(value)} is not {'a JSON object' if kind is dict else 'true or false'}", code=WRONG_USAGE)
    return found


if __name__ == "__main__":
    sys.exit(main())

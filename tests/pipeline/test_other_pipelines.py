"""Pipelines of one's own on this machine: a step that a signal ends says so, with a code and what to do; none needs a recipe."""

from pathlib import Path

import pytest
from kfp import compiler, dsl

from cli.local import StepFailedError, run
from components.execution.signals import exec_python
from lodestar.errors import EnvironmentFault


@exec_python  # as every step is: no shell is left to say how it ended
@dsl.component(base_image="python:3.12", install_kfp_package=False)  # type: ignore[untyped-decorator]
def train(signal_name: str) -> None:
    import os
    import signal

    from components.execution.step import step

    with step("train"):
        os.kill(os.getpid(), signal.Signals[signal_name])


@dsl.pipeline(name="ended")  # type: ignore[untyped-decorator]
def ended(data: str, recipe: str, overrides: str, quarantine: bool, destination: str, service: str) -> None:
    train(signal_name=recipe)


@pytest.mark.parametrize(("signal_name", "advice"), [("SIGSEGV", "the same command resumes"), ("SIGKILL", "memory has run out")])
def test_a_step_that_a_signal_ends_is_named_with_it(tmp_path: Path, signal_name: str, advice: str) -> None:
    compiler.Compiler().compile(ended, str(tmp_path / "ended.yaml"))
    asked = {"data": "simulator", "recipe": signal_name, "overrides": "{}", "quarantine": False, "destination": "", "service": ""}
    with pytest.raises(StepFailedError, match=rf"^E188 train was ended by the signal {signal_name}; .*{advice}") as failed:
        run(tmp_path / "ended.yaml", asked, tmp_path / "run")
    assert failed.value.exit_code == EnvironmentFault.exit_code


@dsl.component(base_image="python:3.12", install_kfp_package=False)  # type: ignore[untyped-decorator]
def note(data: str, destination: str) -> None:
    from pathlib import Path

    Path(destination, "noted").write_text(data)


@dsl.pipeline(name="short")  # type: ignore[untyped-decorator]
def short(data: str, destination: str) -> None:
    note(data=data, destination=destination)


def test_a_pipeline_of_ones_own_without_a_recipe_runs(tmp_path: Path) -> None:
    compiler.Compiler().compile(short, str(tmp_path / "short.yaml"))
    run(tmp_path / "short.yaml", {"data": "simulator", "destination": ""}, tmp_path / "run")
    assert (tmp_path / "run" / "noted").read_text() == "simulator"

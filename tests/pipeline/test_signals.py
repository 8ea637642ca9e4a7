"""A step that a signal ends says so, with a code and what to do."""

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

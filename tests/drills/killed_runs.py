"""`lodestar run` killed at random system calls, of its own and of its steps': the release that is current is the old one or the new one.

The pipeline that is run has the last step of ours behind one that hands over what was trained before: training would take minutes a kill.
"""

import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from kfp import compiler, dsl
from kfp.dsl import Dataset, Model, Output

from components.publish import publish
from tests.drills.drills import Figures
from tests.drills.kills import killed
from tests.drills.publication_targets import KINDS, MODULES, STARTED_AT
from tests.drills.strace_kill import preload


def drill(seed: int, cases: int) -> Figures:
    """AssertionError where something else than the old or the new release is found, now or beside; no case is too short for a sample."""
    if not cases:
        return {}
    preload([*MODULES, "cli.local"])
    kind = replace(KINDS["release"], made=_compiled, work=_run, left=_left)
    with tempfile.TemporaryDirectory() as folder:
        return killed(kind, Path(folder), cases, random.Random(seed), {})


@dsl.component(base_image="python:3.11", install_kfp_package=False)  # type: ignore[untyped-decorator]
def hand_over(data: str, bundle: Output[Model], features: Output[Dataset]) -> None:
    """What was trained before, and what on."""
    import shutil

    shutil.copytree(f"{data}/bundle", bundle.path)
    shutil.copytree(f"{data}/features", features.path)


@dsl.pipeline(name="last-step")  # type: ignore[untyped-decorator]
def last_step(data: str, destination: str, started_at: str) -> Model:
    """The pipeline's end."""
    made = hand_over(data=data).outputs
    publish(bundle=made["bundle"], features=made["features"], destination=destination, started_at=started_at, service="")
    return made["bundle"]


@contextmanager
def _compiled(root: Path) -> Iterator[Mapping[str, str]]:
    with KINDS["release"].made(root) as environment:
        compiler.Compiler().compile(last_step, str(root / "pipeline.yaml"))
        yield environment


def _run(root: Path, content: str) -> None:
    from cli.local import run

    parameters = {"data": str(root / content), "destination": "", "started_at": STARTED_AT}
    run(root / "pipeline.yaml", parameters, root / "out", is_cached=False)


def _left(root: Path) -> list[str]:
    return [path.name for path in (root / "out" / "releases").iterdir() if path.name.startswith(".")]

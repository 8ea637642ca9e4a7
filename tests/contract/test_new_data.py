"""The same address with other data is read again, and unchanged data are taken from the cache, by the runner that runs the file."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from cli.local import WORK, StepFailedError, run
from components.ingest import ingest
from components.version import version
from lodestar.errors import EnvironmentFault
from lodestar.io import storage

ROOT = Path(__file__).parents[2]
LIMIT_S = 30
HEAD = "user_id,item_id,event_type,event_time\n"


def rows(item: str) -> str:
    return HEAD + "".join(f"u{user},{item}{user},view,2026-01-02T00:00:0{user}Z\n" for user in range(6))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph's first two steps, with its parameters and its way of caching."""

    @dsl.pipeline(name="first-steps")  # type: ignore[untyped-decorator]
    def first_steps(
        data: str,
        quarantine: bool,
        recipe: str,
        overrides: dict[str, Any],
        destination: str,
        service: str,
    ) -> dsl.Dataset:
        begun = version(data=data, recipe=recipe, overrides=overrides, destination=destination, service=service)
        begun.set_caching_options(enable_caching=False)
        read = ingest(data=data, data_version=begun.outputs["data_version"], quarantine=quarantine)
        return read.outputs["tables"]

    target = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compiler.Compiler().compile(first_steps, str(target))
    return target


def parameters_of(data: Path) -> dict[str, Any]:
    texts = {"data": str(data), "recipe": "tiny", "destination": "", "service": ""}
    return {**texts, "quarantine": False, "overrides": {"train": {"epochs": 3}}}


def test_new_data_are_read_and_unchanged_data_are_not(pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "events.csv"
    read = []
    for content in (rows("a"), None, rows("b")):
        if content:
            data.write_text(content)
        run(pipeline, parameters_of(data), tmp_path / "out")
        read.append("ingest unchanged" not in capsys.readouterr().err)
    assert read == [True, False, True]


def test_what_a_cache_lost_is_made_anew_under_another_text_and_kept_there(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, read, made = tmp_path / "events.csv", [], []
    data.write_text(rows("a"))
    for text in ("", "?cache=2", "?cache=2"):
        tables = run(pipeline, {**parameters_of(data), "data": f"{data}{text}"}, tmp_path / "out")["Output"]
        read.append("ingest unchanged" not in capsys.readouterr().err)
        made.append(tables)
        assert (tables / "manifest.json").is_file()
        if not text:
            (tables / "manifest.json").unlink()  # and the folder stays, by which this cache looks
    assert read == [True, True, False]
    assert made[0] != made[1] == made[2]


def test_bad_data_take_nothing_out_of_a_folder_that_was_there(pipeline: Path, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(rows("a") + "u7,a7,view,yesterday\n")
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("my own")
    for data, exit_code in ((tmp_path / "events.csv", 3), (tmp_path / "none.csv", 2)):
        with pytest.raises(StepFailedError) as failed:
            run(pipeline, parameters_of(data), output)
        assert failed.value.exit_code == exit_code
        assert [file.name for file in output.iterdir()] == ["thesis.txt"]


def test_a_second_run_into_the_same_folder_is_refused(pipeline: Path, tmp_path: Path) -> None:
    with storage.lock_folder(tmp_path / "out" / WORK), pytest.raises(EnvironmentFault, match="E513"):
        run(pipeline, parameters_of(tmp_path / "events.csv"), tmp_path / "out")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_ends_ends_its_step_as_well(number: signal.Signals, pipeline: Path, tmp_path: Path) -> None:
    program = "import sys; from cli.main import main; sys.exit(main())"
    data = "simulator:users=20000,items=2000,events=1000000"
    command = [sys.executable, "-c", program, "run", str(pipeline), "--data", data, "--output", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        records = list(takewhile(lambda line: "ingest started" not in line, process.stderr))
        assert any(hashlib.sha256(pipeline.read_bytes()).hexdigest() in record for record in records)
        process.send_signal(number)
    assert process.returncode == (128 + number if number is signal.SIGTERM else -number)
    deadline_s = time.monotonic() + LIMIT_S
    while _is_there(process.pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not _is_there(process.pid)
    assert not list((tmp_path / "out").rglob("tables"))


def _is_there(group: int) -> bool:
    """Whether any process of a group runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True

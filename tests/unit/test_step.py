"""A step leaves whole outputs or none, says which input is gone, and takes everything back when it is terminated."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kfp.dsl import Artifact

from components.__main__ import main
from components.execution.step import step
from lodestar.data.version import data_version
from lodestar.errors import DataError
from lodestar.process.descendants import descendants

ROOT = Path(__file__).parents[2]
BODY = """
import subprocess, sys
from pathlib import Path
from kfp.dsl import Artifact
from components.execution.step import step
from lodestar.io import storage

folder = Path(sys.argv[1])
out = [Artifact(name=name, uri=str(folder / name)) for name in ("table", "report")]
with step("ingest", outputs=out):
    Path(out[1].path).write_text("half a report")
    with storage.publish_folder(Path(out[0].path)) as work:
        (work / "rows").write_text("half of the rows")
        with subprocess.Popen(["sleep", "600"]) as child:
            print(child.pid, flush=True)
"""


def artifact(path: Path) -> Artifact:
    return Artifact(name=path.name, uri=str(path))


def failure(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    return next(line for line in lines if line["lodestar"] == "failed")


def test_a_step_that_fails_leaves_no_output(tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "rows").write_text("rows")
    with pytest.raises(SystemExit) as ended, step("ingest", outputs=[artifact(tmp_path / "table"), artifact(tmp_path / "report")]):
        (tmp_path / "report").write_text("half")
        raise DataError("E103", "an id is empty", remedy="Fill it in.")
    assert ended.value.code == DataError.exit_code
    assert not list(tmp_path.iterdir())


def test_an_input_that_a_bucket_has_deleted_is_named_with_a_way_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = artifact(tmp_path / "features")
    with pytest.raises(SystemExit) as ended, step("train", inputs=[gone]):
        raise AssertionError
    assert ended.value.code == 5
    said = failure(capsys)["error"]
    assert said.startswith("E543")
    assert str(gone.uri) in said
    assert "--no-cache" not in said  # which makes no entry anew: the next run would be sent to the same place
    assert "--data 's3://bucket/events/?cache=2'" in said


def test_an_input_of_which_a_part_is_gone_is_named_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "features").mkdir()
    with pytest.raises(SystemExit), step("train", inputs=[artifact(tmp_path / "features")]):
        (tmp_path / "features" / "items.json").read_text()
    assert "items.json is missing" in failure(capsys)["error"]


def test_another_missing_file_is_no_input_of_the_step(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    with pytest.raises(FileNotFoundError), step("train", inputs=[artifact(tmp_path / "features")]):
        (tmp_path / "elsewhere").read_text()


def test_an_output_that_was_not_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), step("train", outputs=[artifact(tmp_path / "bundle")]):
        pass
    assert failure(capsys)["error"].startswith("E544")


def test_a_terminated_step_takes_back_what_it_made_and_ends_its_children(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", BODY, str(tmp_path)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert '"interrupted", "step": "ingest"' in said
    assert not list(tmp_path.iterdir())
    assert child
    assert not Path("/proc", child).exists()


def test_a_step_is_a_command_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"data": "simulator", "recipe": "tiny", "destination": "", "service": ""}
    given = [word for name, value in options.items() for word in (f"--{name}", value)]
    assert main(["version", *given, "--overrides", '{"train": {"epochs": 3}}']) == 0
    assert data_version("simulator") in capsys.readouterr().out
    (tmp_path / "events.csv").write_text("user_id,item_id,event_type,event_time\n")
    tables = ["--tables", str(tmp_path / "tables"), "--report", str(tmp_path / "report.md")]
    with pytest.raises(SystemExit) as ended:
        main(["ingest", "--data", str(tmp_path / "events.csv"), "--data_version", "1", "--quarantine", "true", *tables])
    assert ended.value.code == DataError.exit_code
    capsys.readouterr()
    assert main(["ingest", "--data", "simulator", "--data_version", "1", "--quarantine", "perhaps", *tables]) == 2
    assert main(["version", *given, "--overrides", "[]"]) == 2
    said = capsys.readouterr().err
    assert "E300 'perhaps' is not true or false" in said
    assert "E300 '[]' is not a JSON object" in said


def test_children_of_children_are_found() -> None:
    others = set(descendants())  # servers of other tests
    with subprocess.Popen(["sh", "-c", "sleep 600 & echo begun; wait"], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        found = [process for process in descendants() if process not in others]
        for process in reversed(found):
            os.kill(process, signal.SIGKILL)
    assert len(found) == 2
    assert shell.pid in found

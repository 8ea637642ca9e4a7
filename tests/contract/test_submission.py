"""A run is submitted with parameters that a Pipelines server takes, by our command and by kfp's own, or refused before with what to do."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.main import main
from tests.contract.pipelines_server import PipelinesServer, running

ROOT = Path(__file__).parents[2]
KFP = str(Path(sys.executable).with_name("kfp"))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    assert main(["compile", "--output", str(target)]) == 0
    return target


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PipelinesServer]:
    monkeypatch.setenv("HOME", str(tmp_path))  # kfp keeps a context there
    with running() as made:
        yield made


def submit(server: PipelinesServer, pipeline: Path, *options: str) -> int:
    return main(["run", str(pipeline), "--cluster", "--endpoint", server.address, *options])


def test_the_file_that_is_given_is_submitted_and_one_line_is_printed(
    server: PipelinesServer, pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data", "s3://b/events/", "--quarantine", "--recipe", "tiny", "--overrides", '{"train": {"epochs": 3}}')
    assert submit(server, pipeline, *options, "--destination", "s3://b/bundles", "--service", "lodestar/recommend") == 0
    (body,) = server.submitted
    assert body["runtime_config"]["parameters"] == {
        "data": "s3://b/events/",
        "quarantine": True,
        "recipe": "tiny",
        "overrides": {"train": {"epochs": 3}},
        "destination": "s3://b/bundles",
        "service": "lodestar/recommend",
    }
    assert body["pipeline_spec"]["pipeline_spec"] == next(yaml.safe_load_all(pipeline.read_text()))
    said = capsys.readouterr()
    assert said.out == "runs-1\n"
    assert "/#/runs/details/runs-1" in said.err
    assert hashlib.sha256(pipeline.read_bytes()).hexdigest() in said.err


def test_a_run_has_a_name_an_experiment_and_a_namespace_and_may_leave_the_cache(server: PipelinesServer, pipeline: Path) -> None:
    assert submit(server, pipeline, "--experiment", "shop", "--run-name", "monday", "--namespace", "team", "--no-cache") == 0
    (body,) = server.submitted
    assert (body["display_name"], body["experiment_id"]) == ("monday", "experiment-shop")
    assert server.experiments[0]["namespace"] == "team"
    tasks = body["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks.values())


def test_a_recurring_run_is_switched_on_and_begins_one_run_at_a_time(
    server: PipelinesServer, pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(server, pipeline, "--cron", "0 0 3 * * *", "--overrides", '{"train": {"epochs": 3}}') == 0
    (body,) = server.submitted
    assert (body["mode"], body["no_catchup"], body["max_concurrency"]) == ("ENABLE", True, 1)
    assert body["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert body["runtime_config"]["parameters"]["overrides"] == {"train": {"epochs": 3}}
    assert capsys.readouterr().out == "recurringruns-1\n"


@pytest.mark.parametrize(
    "cron",
    [
        *("0 0 3 * * *", "0 */30 8-18/2 1,15 JAN-mar mon-fri", "00 5/15 03 ? * 0", "0 0 3 1,,15 * *"),
        *("@daily", "@midnight", "@hourly", "@yearly", "@every 1h30m", "@every 1.5h", "@every 90s"),
    ],
)
def test_a_schedule_as_pipelines_takes_it_is_submitted(cron: str, server: PipelinesServer, pipeline: Path) -> None:
    assert submit(server, pipeline, "--cron", cron) == 0
    assert server.submitted[0]["trigger"]["cron_schedule"]["cron"] == cron


ODD = Path(tempfile.mkdtemp(prefix="lodestar-odd-"))
(ODD / "my shop").mkdir()
(ODD / "day1").mkdir()
(ODD / "day1" / "events.csv").touch()
TOO_MANY = json.dumps({"train": {"item_init": f"pretrained:s3://b/{'x' * 10_000}"}})
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "a service without a destination": (("--service", "lodestar/recommend"), "--destination"),
    "a service and a folder of a pod": (("--service", "recommend", "--destination", "/tmp/x"), "s3://BUCKET/bundles"),
    "a destination in a pod": (("--destination", "/tmp/x"), "s3://BUCKET/bundles"),
    "a local file": (("--data", str(ROOT / "README.md")), f"aws s3 cp {ROOT}/README.md s3://BUCKET/README.md"),
    "a local folder": (("--data", str(ROOT / "docs")), "aws s3 cp --recursive"),
    "a name with blanks": (("--data", str(ODD / "my shop")), f"aws s3 cp --recursive '{ODD}/my shop' 's3://BUCKET/my shop'"),
    "a wildcard": (
        ("--data", str(ODD / "day*" / "*.csv")),
        f"aws s3 cp --recursive {ODD} s3://BUCKET/{ODD.name} --exclude '*' --include 'day*/*.csv'",
    ),
    "nothing": (("--data", str(ODD / "none")), f"there is no file or folder {ODD}/none"),
    "the folder where one stands": (("--data", "."), f"aws s3 cp --recursive {Path.cwd()} s3://BUCKET/{Path.cwd().name}`"),
    "a bundle of this machine to begin from": (
        ("--overrides", json.dumps({"train": {"warm_start": str(ODD / "my shop")}})),
        "give train.warm_start 's3://BUCKET/my shop'",
    ),
    "vectors that are not there": (
        ("--overrides", json.dumps({"train": {"item_init": f"pretrained:{ODD}/none.parquet"}})),
        f"there is no file or folder {ODD}/none.parquet; give train.item_init",
    ),
    "a service that no cluster has": (
        ("--service", "lodestar/Recommend!/x", "--destination", "s3://b/bundles"),
        "'lodestar/Recommend!/x' is not the name of an InferenceService",
    ),
    "too many characters": (("--overrides", TOO_MANY), "10,000"),
    "an unknown recipe": (("--recipe", "sasrek"), "sasrec"),
    "a schedule of five fields, as crontab has it": (
        ("--cron", "30 3 * * *"),
        "needs six (seconds, minutes, hours, days, months, weekdays)",
    ),
    "five fields, with what to give": (("--cron", "30 3 * * *"), "give --cron '0 30 3 * * *'"),
    "an empty schedule": (("--cron", ""), "has 0 fields"),
    "an hour that is none": (("--cron", "0 0 24 * * *"), "'24' is not valid for the hours of a schedule: give 0-23"),
    "a range that goes back": (("--cron", "0 0 3 * * fri-mon"), "'fri-mon' is not valid for the weekdays"),
    "a step of nothing": (("--cron", "0 */0 * * * *"), "'*/0' is not valid for the minutes"),
    "days without a number": (("--cron", "0 0 3 , * *"), "',' is not valid for the days"),
    "a name that Pipelines does not know": (("--cron", "@nightly"), "E312 '@nightly' is no schedule; did you mean @midnight?"),
    "a name in other letters": (("--cron", "@Daily"), "'@Daily' is no schedule"),
    "a period without a unit": (("--cron", "@every 90"), "such as '@every 1h30m'"),
    "a period that the server would lengthen": (("--cron", "@every 100ms"), "'@every 100ms' is no schedule"),
    "an option of the other place": (("--output", "here"), "--output"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_not_run_is_refused_before_it_is_submitted(
    name: str, server: PipelinesServer, pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, said = REFUSED[name]
    assert submit(server, pipeline, *options) == 2
    assert said in capsys.readouterr().err
    assert not server.submitted


def test_a_server_that_does_not_take_the_run_is_an_error_with_a_code(
    server: PipelinesServer, tmp_path: Path, pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text(pipeline.read_text().replace("parameterType: STRUCT", "parameterType: STRING"))
    assert submit(server, renamed) == 5
    assert "E520" in capsys.readouterr().err
    older = tmp_path / "older.yaml"
    older.write_text(pipeline.read_text().replace("quarantine:", "data_version:"))
    assert submit(server, older) == 2
    assert "compile it again" in capsys.readouterr().err


def test_options_of_a_cluster_and_a_file_that_is_no_pipeline_are_refused_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.yaml").write_text("kind: Pod\n")
    for arguments, said in (
        (["run", "--service", "lodestar/recommend", "--destination", "s3://b"], "with --cluster only"),
        (["run", str(tmp_path / "none.yaml")], "lodestar compile --output"),
        (["run", str(tmp_path / "other.yaml"), "--output", str(tmp_path / "out")], "is not a compiled pipeline"),
    ):
        assert main(arguments) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def documented() -> list[str]:
    """Every command line of kfp's that the documents give, in one line each, without where the server is."""
    lines: list[str] = []
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = re.sub(r"kfp --endpoint \S+", "kfp", file.read_text().replace("\\\n", " "))
        lines += [
            match.strip()
            for match in re.findall(r"^\s*(kfp (?:recurring-)?run create .*)$|`(kfp [a-z-]+ create [^`]*)`", text, re.M)
            for match in match
            if match
        ]
    return sorted(set(lines))


def test_the_documents_give_kfps_commands() -> None:
    said = documented()
    assert any("overrides='{" in line for line in said)
    assert any(line.startswith("kfp recurring-run create") for line in said)


@pytest.mark.parametrize("line", documented())
def test_a_documented_command_is_parsed_by_kfp_and_accepted_by_a_server(line: str, server: PipelinesServer, pipeline: Path) -> None:
    given = shlex.split(line.replace("…", "bucket"))[1:]
    command = [KFP, "--endpoint", server.address, *(str(pipeline) if word == "pipeline.yaml" else word for word in given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (body,) = server.submitted
    parameters: dict[str, Any] = body["runtime_config"]["parameters"]
    assert parameters["data"].startswith("s3://")
    if given[0] == "recurring-run":
        assert body["mode"] == "ENABLE"

"""The whole way by the real command: 200 rows in, a released bundle out; bad rows in, nothing out."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COLUMNS = ("user_id", "item_id", "event_type", "event_time")
Row = dict[str, str]


def lodestar(*arguments: str | Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(*arguments), capture_output=True, text=True, timeout=timeout_s, env=_environment(), check=False)


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", "import sys; from cli.main import main; sys.exit(main())", *map(str, arguments)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def chains(count: int = 200, users: int = 20, items: int = 30) -> list[Row]:
    """Users who walk along a ring of items: what comes next follows from what came last."""
    random.seed(1)
    rows = []
    for user in range(users):
        at = random.randrange(items)
        for step in range(count // users):
            rows.append(_row(f"u{user}", f"i{(at + step) % items}", f"2026-01-{step + 1:02d}T{user:02d}:00:00Z"))
    return rows


def _row(user: str, item: str, time: str) -> Row:
    return dict(zip(COLUMNS, (user, item, "view", time), strict=True))


def write(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("run")
    data, output = write(folder / "events.csv", chains()), folder / "out"
    temporary = folder / "temporary"
    temporary.mkdir()
    command = _command("run", "--data", data, "--recipe", "tiny", "--output", output, "--json")
    done = subprocess.run(command, capture_output=True, text=True, env=_environment() | {"TMPDIR": str(temporary)}, check=False)
    assert done.returncode in {0, 4}, done.stderr
    assert [path.name for path in temporary.iterdir()] == [f"lodestar-{os.geteuid()}"]  # nothing of a step's is left
    assert not list(temporary.glob("lodestar-*/work/*"))
    result: dict[str, Any] = json.loads(done.stdout)
    return data, output, result


def test_two_hundred_rows_go_the_whole_way(finished: tuple[Path, Path, dict[str, Any]]) -> None:
    _, output, result = finished
    assert result["metrics"]
    assert result["cost"]["samples"] > 0
    assert "fewer than 10,000" in result["cost"]["warning"]
    report = (output / "report.html").read_text()
    assert "<svg" in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_an_unchanged_run_takes_every_step_from_the_cache(finished: tuple[Path, Path, dict[str, Any]]) -> None:
    data, output, first = finished
    again = lodestar("run", "--data", data, "--recipe", "tiny", "--output", output, "--json")
    assert json.loads(again.stdout)["metrics"] == first["metrics"]
    assert again.stderr.count("unchanged") >= 6


def _without_time(rows: list[Row]) -> list[Row]:
    return [{("hour" if name == "event_time" else name): value for name, value in row.items()} for row in rows]


def _with(**changes: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [rows[0] | changes, *rows[1:]]


def _rated(rows: list[Row]) -> list[Row]:
    return [row | {"event_type": "rating", "rating": "7" if number == 3 else "4"} for number, row in enumerate(rows)]


BAD: dict[str, tuple[Callable[[list[Row]], list[Row]], tuple[str, ...]]] = {
    "no event_time": (_without_time, ("E101", "--map")),
    "empty id": (_with(user_id=""), ("E103", "line 2")),
    "rating of 7": (_rated, ("E102", "line 5", "7")),
    "naive time": (_with(event_time="2026-01-01T00:00:00"), ("E106", "line 2")),
    "unknown type": (_with(event_type="ogle"), ("E110", "ogle")),
    "three users": (lambda rows: [row for row in rows if row["user_id"] in {"u0", "u1", "u2"}], ("E203",)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_coded_error_and_writes_nothing(name: str, tmp_path: Path) -> None:
    damage, expected = BAD[name]
    data = write(tmp_path / "events.csv", damage(chains()))
    _refused(data, tmp_path, expected)


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "E"), (b"user_id,item_id,event_type,event_time\n\xff\xfe,i,view,2026-01-01T00:00:00Z\n", "E104")]
)
def test_an_empty_file_and_foreign_bytes_are_coded_errors(content: bytes, code: str, tmp_path: Path) -> None:
    data = tmp_path / "events.csv"
    data.write_bytes(content)
    _refused(data, tmp_path, (code,))


def _refused(data: Path, folder: Path, expected: tuple[str, ...]) -> None:
    done = lodestar("run", "--data", data, "--recipe", "tiny", "--output", folder / "out")
    assert done.returncode == 3, done.stderr
    assert all(text in done.stderr for text in expected), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count(" ingest started") <= 1
    assert not (folder / "out").exists()


def test_a_missing_path_and_a_bad_override_are_usage_errors(tmp_path: Path) -> None:
    assert lodestar("run", "--data", tmp_path / "none.csv", "--output", tmp_path / "out").returncode == 2
    assert lodestar("run", "--overrides", "{", "--output", tmp_path / "out").returncode == 2
    assert lodestar("run", "--overrides", '{"train": {"workers": 4096}}', "--output", tmp_path / "out").returncode == 2
    assert not (tmp_path / "out").exists()


def test_a_killed_run_resumes_to_the_same_metrics(tmp_path: Path) -> None:
    data = write(tmp_path / "events.csv", chains())
    options = ("--data", data, "--recipe", "tiny", "--overrides", '{"train": {"epochs": 40, "patience": 40}}', "--json")
    unbroken = json.loads(lodestar("run", *options, "--output", tmp_path / "unbroken").stdout)
    _kill_while_training(_command("run", *options, "--output", str(tmp_path / "broken")))
    resumed = json.loads(lodestar("run", *options, "--output", tmp_path / "broken").stdout)
    assert resumed["metrics"] == unbroken["metrics"]


def _kill_while_training(command: list[str]) -> None:
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=_environment(), start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "train" in line and "/40" in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.stderr.close()
    process.wait()


def test_a_step_imports_nothing_of_the_working_folder(tmp_path: Path) -> None:
    """Which may be somebody's data, with a `secrets.py` beside it."""
    (tmp_path / "secrets.py").write_text('open("planted", "w").close()\n')
    (tmp_path / "nothing.csv").write_text("user_id,item_id,event_type,event_time\n")
    python, *program = _command("run", "--data", "nothing.csv", "--recipe", "tiny", "--output", "out")
    done = subprocess.run([python, "-P", *program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert not (tmp_path / "planted").exists()

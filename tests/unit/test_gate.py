"""The gate refuses what loses to a baseline, and what it cannot compare."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from lodestar.errors import DataError
from lodestar.evaluation.gate import EVALUATION, read_verdict, verdict


def evaluation(folder: Path, **figures: float) -> Path:
    models = {name: {"metrics": {"ndcg_at_10": {"value": value}}} for name, value in figures.items()}
    folder.joinpath(EVALUATION).write_text(json.dumps({"models": models}))
    return folder


def test_a_model_ahead_of_every_baseline_passes(tmp_path: Path) -> None:
    assert read_verdict(evaluation(tmp_path, model=0.13, popularity=0.04, cooccurrence=0.12)).passes


def test_the_bundle_that_goes_out_decides_and_not_the_one_it_was_made_from(tmp_path: Path) -> None:
    assert not read_verdict(evaluation(tmp_path, model=0.11, uncompressed=0.9, popularity=0.12)).passes
    assert read_verdict(evaluation(tmp_path, model=0.13, uncompressed=0.9, popularity=0.12)).passes


def test_a_draw_passes() -> None:
    assert verdict(0.12, {"cooccurrence": 0.12}).passes


def test_one_better_baseline_is_enough_to_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not read_verdict(evaluation(tmp_path, model=0.11, popularity=0.04, cooccurrence=0.12)).passes
    line = json.loads(capsys.readouterr().err)
    assert line["passes"] is False
    assert "co-occurrence (0.1200)" in line["reason"]
    assert "popularity" not in line["reason"]


def test_the_reason_names_the_best_of_those_ahead_first() -> None:
    assert verdict(0.1, {"a": 0.2, "b": 0.3}).reason == "NDCG@10 0.1000 is below b (0.3000), a (0.2000)."


def test_a_baseline_that_was_left_out_is_named(tmp_path: Path) -> None:
    file = evaluation(tmp_path, model=0.13, popularity=0.04) / EVALUATION
    file.write_text(json.dumps({**json.loads(file.read_text()), "skipped": {"ease": "left out: too large"}}))
    assert read_verdict(tmp_path).passes
    assert read_verdict(tmp_path).reason.endswith("Skipped baselines: EASE.")


def test_a_model_that_only_its_compression_makes_lose_says_how_it_passes(tmp_path: Path) -> None:
    found = read_verdict(evaluation(tmp_path, model=0.11, uncompressed=0.12, cooccurrence=0.12, popularity=0.04))
    assert not found.passes
    assert "Uncompressed, it is 0.1200 and would pass: run again with " in found.reason
    assert found.reason.endswith("""--overrides '{"compression": {"max_ndcg_drop": 0}}'.""")
    for uncompressed in (0.119, math.nan):
        assert "ncompressed" not in verdict(0.11, {"cooccurrence": 0.12}, uncompressed=uncompressed).reason


def test_what_is_not_a_number_is_refused() -> None:
    assert not verdict(math.nan, {"popularity": 0.0}).passes


def test_a_model_without_a_baseline_is_refused() -> None:
    assert not verdict(0.5, {}).passes


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"models": {}}', '{"models": {"model": {"metrics": {}}}}', '{"models": [1]}'])
def test_figures_that_are_missing_are_an_error(tmp_path: Path, text: str) -> None:
    tmp_path.joinpath(EVALUATION).write_text(text)
    with pytest.raises(DataError, match="E153"):
        read_verdict(tmp_path)


def test_a_folder_without_an_evaluation_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="E153"):
        read_verdict(tmp_path)
    (tmp_path / EVALUATION).mkdir()
    with pytest.raises(IsADirectoryError):  # which is said as what it is
        read_verdict(tmp_path)


def test_the_gate_loads_no_model_library() -> None:
    heavy = "{'torch', 'numpy', 'scipy', 'onnxruntime', 'jinja2', 'pandas', 'pyarrow'}"
    code = f"import sys, lodestar.evaluation.gate; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"

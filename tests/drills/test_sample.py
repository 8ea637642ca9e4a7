"""A seeded sample of every drill, and the committed result of each."""

import json
from pathlib import Path

import pytest

from tests.drills.drills import DRILLS, run

SEED = 0


@pytest.mark.parametrize("name", DRILLS)
def test_a_sample_of_the_drill_holds(name: str) -> None:
    assert run(name, SEED, DRILLS[name].sample)["drill"] == name


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name, plan in DRILLS.items() for seed in plan.seeds])
def test_the_result_of_the_whole_drill_is_kept(name: str, seed: int) -> None:
    result = json.loads((Path(__file__).parent / "results" / f"{name}-{seed}.json").read_text())
    assert (result["drill"], result["seed"], result["cases"]) == (name, seed, DRILLS[name].cases)


def test_every_drill_is_listed_and_every_result_is_of_one() -> None:
    results = {path.stem.rpartition("-")[0] for path in (Path(__file__).parent / "results").glob("*.json")}
    assert results <= DRILLS.keys()

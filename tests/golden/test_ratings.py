"""Ratings are predicted as well as published, and the worked example gives the numbers it says."""

import re
from pathlib import Path

import pytest

from benchmarks import ratings
from lodestar.models.ratings.rating_factors import RatingFactors
from lodestar.models.ratings.ratings import Biases, RatingNeighbours, rmse

ROOT = Path(__file__).parents[2]
MOVIELENS = ROOT.parent / "shared" / "data" / "movielens-100k"


def test_the_worked_example_gives_its_numbers() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "worked-example.md").read_text(), re.DOTALL)
    assert len(blocks) == 7
    exec(compile("\n".join(blocks), "worked-example.md", "exec"), {})


@pytest.mark.skipif(not MOVIELENS.exists(), reason="MovieLens-100K is not beside the project")
def test_factors_are_ahead_of_the_published_figures_on_the_first_fold() -> None:
    known, asked = ratings.fold(MOVIELENS, 1)
    shape = ratings.NUM_USERS, ratings.NUM_ITEMS
    factors = RatingFactors(dim=12, burn_in=40, num_samples=110).fit(known, *ratings.attributes(MOVIELENS))
    assert rmse(factors.predict(asked), asked) < 0.8855  # myFM with side information
    assert rmse(Biases().fit(known, *shape).predict(asked), asked) == pytest.approx(0.9575, abs=0.002)
    assert rmse(RatingNeighbours("cosine").fit(known, *shape).predict(asked), asked) == pytest.approx(1.0334, abs=0.002)

"""Crosses of a user and an item, and what they are where something is not known."""

import numpy as np
import pandas as pd
import pytest

from lodestar.schema.crosses import INPUTS, NAMES, crosses, of_rows

NOTHING = dict.fromkeys(INPUTS)
PAIR = {
    "events_7d": 0.5,
    "interactions_7d": 0.25,
    "language": "de",
    "item_language": "de",
    "interests": ["Lamps"],
    "segments": [],
    "category_path": ["home", "lamps"],
}


def test_a_pair_that_fits() -> None:
    assert crosses(PAIR) == {"heat": 0.125, "is_in_language": 1.0, "is_of_interest": 1.0}


def test_what_is_not_known_counts_for_nothing() -> None:
    assert crosses(NOTHING) == dict.fromkeys(NAMES, 0.0)
    assert crosses({**NOTHING, "language": "", "item_language": ""})["is_in_language"] == 0.0


@pytest.mark.parametrize(
    ("name", "changed"),
    [("heat", {"interactions_7d": None}), ("is_in_language", {"item_language": "fr"}), ("is_of_interest", {"category_path": ["home"]})],
)
def test_each_hangs_on_what_it_says(name: str, changed: dict[str, object]) -> None:
    found = crosses({**PAIR, **changed})
    assert found[name] == 0.0
    assert {other: found[other] for other in NAMES if other != name} == {other: crosses(PAIR)[other] for other in NAMES if other != name}


def test_a_frame_of_pairs_gives_the_same_whatever_it_says_null_with() -> None:
    arrays = {**PAIR, "interests": np.array(["Lamps"]), "category_path": np.array(["home", "lamps"])}
    nulls = {name: float("nan") for name in INPUTS}
    found = of_rows(pd.DataFrame([PAIR, arrays, nulls, NOTHING], index=[7, 8, 9, 10]))
    assert found.index.tolist() == [7, 8, 9, 10]
    assert found.to_dict("records") == [crosses(PAIR), crosses(PAIR), crosses(NOTHING), crosses(NOTHING)]
    assert all(found[name].dtype == np.float32 for name in NAMES)

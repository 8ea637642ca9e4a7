"""Cross features of a user-item pair, computed on demand from user and item features (Feast on-demand feature view)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lodestar.schema.ranker_inputs import EVENTS, INTERACTIONS, RECENCY_COUNTS

if TYPE_CHECKING:
    import pandas as pd

INPUTS = (EVENTS, INTERACTIONS, "language", "item_language", "interests", "segments", "category_path")
IS_IN_LANGUAGE, IS_OF_INTEREST = "is_in_language", "is_of_interest"
DESCRIPTIONS = {
    RECENCY_COUNTS: f"activity of the user times popularity of the item: `{EVENTS}` × `{INTERACTIONS}`",
    IS_IN_LANGUAGE: "1 if the item is in the user's language, else 0",
    IS_OF_INTEREST: "1 if a category of the item is an interest or a segment of the user, else 0",
}
NAMES = tuple(DESCRIPTIONS)


def crosses(pair: Mapping[str, Any]) -> dict[str, np.float32]:
    """Cross features of one pair, by name as in DESCRIPTIONS.

    `pair` has the features INPUTS; missing values count as 0.
    """
    interests = {one.casefold() for one in (*_all(pair["interests"]), *_all(pair["segments"]))}
    language = pair["language"]
    return {
        RECENCY_COUNTS: np.float32(_known(pair[EVENTS])) * np.float32(_known(pair[INTERACTIONS])),
        IS_IN_LANGUAGE: np.float32(isinstance(language, str) and language != "" and language == pair["item_language"]),
        IS_OF_INTEREST: np.float32(any(one.casefold() in interests for one in _all(pair["category_path"]))),
    }


def of_rows(rows: "pd.DataFrame") -> "pd.DataFrame":
    """`crosses` for a data frame with a pair per row."""
    import pandas as pd

    found = [crosses(pair) for pair in rows[list(INPUTS)].to_dict("records")]  # type: ignore[arg-type]  # its names are texts
    return pd.DataFrame({name: np.array([one[name] for one in found], dtype=np.float32) for name in NAMES}, index=rows.index)


def _known(value: float | None) -> float:
    return 0.0 if value is None or np.isnan(value) else float(value)


def _all(values: Any) -> Any:
    return values if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str) else ()

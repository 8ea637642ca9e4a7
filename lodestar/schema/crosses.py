"""What a user and an item have to do with each other, made when it is asked for from what is known of either."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lodestar.schema.pairs import EVENTS, HEAT, TAKEN

if TYPE_CHECKING:
    import pandas as pd

INPUTS = (EVENTS, TAKEN, "language", "item_language", "interests", "segments", "category_path")
NAMES = (HEAT, "is_in_language", "is_of_interest")


def crosses(pair: Mapping[str, Any]) -> dict[str, np.float32]:
    """`heat`: the user's activity times the item's; the others are 1 or 0. `pair` holds INPUTS; what is not known counts for nothing."""
    wanted = {one.casefold() for one in (*_all(pair["interests"]), *_all(pair["segments"]))}
    language = pair["language"]
    return {
        HEAT: np.float32(_known(pair[EVENTS])) * np.float32(_known(pair[TAKEN])),
        "is_in_language": np.float32(isinstance(language, str) and language != "" and language == pair["item_language"]),
        "is_of_interest": np.float32(any(one.casefold() in wanted for one in _all(pair["category_path"]))),
    }


def of_rows(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The same of many pairs, one a row."""
    import pandas as pd

    found = [crosses(pair) for pair in rows[list(INPUTS)].to_dict("records")]  # type: ignore[arg-type]  # its names are texts
    return pd.DataFrame({name: np.array([one[name] for one in found], dtype=np.float32) for name in NAMES}, index=rows.index)


def _known(value: float | None) -> float:
    return 0.0 if value is None or np.isnan(value) else float(value)


def _all(values: Any) -> Any:
    return values if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str) else ()

"""The items of a run, row by row: what the item table's rows mean, and how to call them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.arrays import Arrays, pack, unpack


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Parallel lists in the order of the item table; a category is the first of an item's path, or empty."""

    ids: list[str]
    titles: list[str]
    categories: list[str]
    is_active: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self) -> dict[str, int]:
        """The row of each item id."""
        return {item: row for row, item in enumerate(self.ids)}

    def arrays(self) -> Arrays:
        """What `from_arrays` takes back."""
        texts = {schema.ITEM_ID: self.ids, schema.TITLE: self.titles, schema.CATEGORY_PATH: self.categories}
        packed = {name: part for key, values in texts.items() for name, part in pack(key, values).items()}
        return {**packed, schema.IS_ACTIVE: self.is_active}


def from_arrays(arrays: Arrays) -> Catalogue:
    return Catalogue(
        ids=unpack(schema.ITEM_ID, arrays),
        titles=unpack(schema.TITLE, arrays),
        categories=unpack(schema.CATEGORY_PATH, arrays),
        is_active=arrays[schema.IS_ACTIVE].astype(np.bool_),
    )

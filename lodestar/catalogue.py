"""The items of a run, row by row: what the item table's rows mean, and how to call them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.arrays import Arrays, pack, unpack

MARKS, SEPARATOR = "marks", "\x1f"


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Parallel lists in the order of the item table; a category is the first of an item's path, or empty.

    `marks`, where they are kept, are all parts of the path and all tags of each item.
    """

    ids: list[str]
    titles: list[str]
    categories: list[str]
    is_active: NDArray[np.bool_]
    marks: list[tuple[str, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self) -> dict[str, int]:
        """The row of each item id."""
        return {item: row for row, item in enumerate(self.ids)}

    def arrays(self) -> Arrays:
        """What `from_arrays` takes back."""
        texts = {schema.ITEM_ID: self.ids, schema.TITLE: self.titles, schema.CATEGORY_PATH: self.categories}
        if self.marks:
            texts[MARKS] = [SEPARATOR.join(marks) for marks in self.marks]
        packed = {name: part for key, values in texts.items() for name, part in pack(key, values).items()}
        return {**packed, schema.IS_ACTIVE: self.is_active}


def from_arrays(arrays: Arrays) -> Catalogue:
    """DataError E181 where a list is missing or damaged."""
    return Catalogue(
        ids=unpack(schema.ITEM_ID, arrays),
        titles=unpack(schema.TITLE, arrays),
        categories=unpack(schema.CATEGORY_PATH, arrays),
        is_active=arrays.get(schema.IS_ACTIVE, np.zeros(0)).astype(np.bool_),
        marks=[tuple(text.split(SEPARATOR)) if text else () for text in unpack(MARKS, arrays)] if MARKS in arrays else [],
    )

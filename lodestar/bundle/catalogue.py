"""Catalogue: ids, titles and categories of the items, in the row order of the item table."""

from dataclasses import dataclass, field

import numpy as np

from lodestar import schema
from lodestar.io.npz import Arrays, pack, unpack
from lodestar.schema.arrays import Bool, Flags

CATEGORIES_AND_TAGS, SEPARATOR = "categories_and_tags", "\x1f"


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Items as parallel lists in the row order of the item table; a category is the first part of the category path, or empty.

    `categories_and_tags`, if kept, holds all parts of the path and all tags of each item.
    """

    ids: list[str]
    titles: list[str]
    categories: list[str]
    is_active: Bool[Flags, " items"]
    categories_and_tags: list[tuple[str, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self) -> dict[str, int]:
        """Row index by item id."""
        return {item: row for row, item in enumerate(self.ids)}

    def arrays(self) -> Arrays:
        """Arrays to save in items.npz; the inverse of `from_arrays`."""
        columns = {schema.ITEM_ID: self.ids, schema.TITLE: self.titles, schema.CATEGORY_PATH: self.categories}
        if self.categories_and_tags:
            columns[CATEGORIES_AND_TAGS] = [SEPARATOR.join(texts) for texts in self.categories_and_tags]
        packed = {name: part for key, values in columns.items() for name, part in pack(key, values).items()}
        return {**packed, schema.IS_ACTIVE: self.is_active}


def from_arrays(arrays: Arrays) -> Catalogue:
    """Catalogue from the arrays of items.npz; raises DataError E181 if a list is missing or damaged."""
    return Catalogue(
        ids=unpack(schema.ITEM_ID, arrays),
        titles=unpack(schema.TITLE, arrays),
        categories=unpack(schema.CATEGORY_PATH, arrays),
        is_active=arrays.get(schema.IS_ACTIVE, np.zeros(0)).astype(np.bool_),
        categories_and_tags=[tuple(text.split(SEPARATOR)) if text else () for text in unpack(CATEGORIES_AND_TAGS, arrays)]
        if CATEGORIES_AND_TAGS in arrays
        else [],
    )

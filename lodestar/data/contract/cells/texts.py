"""Read columns of text: without spaces around, null where a text stands for null, ids in their normal form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.data.contract.cells import id_sql, times
from lodestar.data.contract.cells.sql import quoted, texts
from lodestar.data.contract.cells.times import TimeForm
from lodestar.data.contract.cells.traits import Traits
from lodestar.data.contract.rules import CellOptions, ColumnRule
from lodestar.schema.ids import NULL_TEXTS

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Cells:
    """What a batch has in a column: its Arrow type, the traits of texts, the form of times; and what holds: options and limits.

    A value has at most `most_bytes` bytes; a time of the past lies at `latest_us` (UTC µs) or before.
    """

    kind: "pa.DataType"
    traits: Traits = field(default_factory=Traits)
    form: TimeForm = times.ISO
    most_bytes: int = rules.MAX_VALUE_BYTES
    latest_us: int = rules.LATEST_US
    options: CellOptions = rules.DEFAULT_CELLS


def null_texts(rule: ColumnRule, options: CellOptions) -> list[str]:
    """The texts that stand for null in a column: `NA` is a country."""
    return [text for text in (*NULL_TEXTS, *options.null) if text != rules.COUNTRY_CODE or rule.name != schema.COUNTRY]


def read_texts(columns: Mapping[str, tuple[ColumnRule, Cells]], relation: str) -> str:
    """SQL of a relation in which columns of text have no spaces around them, ids their normal form, and null what stands for it.

    A column with an odd text keeps it in `written(name)`, and that which stands for null in `null_of(name)`: each step is a query of its
    own, so that no expression is written out more than once.
    """
    odd = {name: (rule, cells) for name, (rule, cells) in columns.items() if is_odd(rule, cells)}
    kept = "".join(f", {quoted(name)} AS {written(name)}" for name in odd)
    plain = {name: f"nullif({_trimmed(quoted(name), *odd[name]) if name in odd else quoted(name)}, '')" for name in columns}
    query = f"SELECT *{_replaced(plain)}{kept} FROM {relation}"
    if not odd:
        return query
    is_null = {name: f"{quoted(name)} IN ({texts(null_texts(*_options(pair)))})" for name, pair in odd.items()}
    nulls = "".join(f", CASE WHEN {condition} THEN {quoted(name)} END AS {null_of(name)}" for name, condition in is_null.items())
    values = {name: f"CASE WHEN {is_null[name]} THEN NULL ELSE {_normal(quoted(name), *odd[name])} END" for name in odd}
    return f"SELECT *{_replaced(values)}{nulls} FROM ({query})"


def written(name: str) -> str:
    """SQL of a column's text as the file has it."""
    return quoted(name + " written")


def null_of(name: str) -> str:
    """SQL of a column's text that stands for null."""
    return quoted(name + " null")


def _options(pair: tuple[ColumnRule, Cells]) -> tuple[ColumnRule, CellOptions]:
    return pair[0], pair[1].options


def _replaced(values: Mapping[str, str]) -> str:
    return f" REPLACE ({', '.join(f'{value} AS {quoted(name)}' for name, value in values.items())})" if values else ""


def is_odd(rule: ColumnRule, cells: Cells) -> bool:
    """Whether some text of the column may be read otherwise than it is written."""
    return cells.traits.has_spaces or cells.traits.has_sought or (rule.is_id and cells.traits.has_point)


def _trimmed(text: str, rule: ColumnRule, cells: Cells) -> str:
    """SQL of a text without spaces around it; of an id that is declared a text, as it is written."""
    trimmed = f"trim({text}, {id_sql.spaces()})"
    return f"CASE WHEN {trimmed} <> '' THEN {text} END" if is_literal(rule, cells) else trimmed


def _normal(text: str, rule: ColumnRule, cells: Cells) -> str:
    return id_sql.normalised(text) if rule.is_id and not is_literal(rule, cells) else text


def is_literal(rule: ColumnRule, cells: Cells) -> bool:
    """Whether the column has ids that are left as they are written."""
    return rule.is_id and cells.options.id_type == rules.TEXT_IDS

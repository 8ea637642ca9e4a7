"""Declaration of a dataset, the typed content of a `dataset.toml`: files, columns, forms of values, event types, order, joins.

Every option of reading and of cells may stand at the top, for all tables, or in a table's section, for that table alone. In a section
every other key is a column of the contract, and its value says where it comes from: a column's name, its number from 1, a table with the
options of `ColumnSource`, or "" for a column of the same name that is to be left out.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from lodestar import schema
from lodestar.data.declaration.about import About, Recognition
from lodestar.data.declaration.strict import Names, Numbered, Several, SeveralColumns, Strict, Text, one_or_more
from lodestar.data.readers.options import ReadOptions
from lodestar.errors import ConfigError

FILE = "dataset.toml"
LEFT_OUT = "ignore"  # in place of an event type: rows with this value are left out, and counted
COLUMN_SOURCES = "column_sources"  # never written in a file
BY_ROW = "row"  # in place of an order column: the order of the rows
BY_FILE = "file"  # in place of an order column: the order of the rows over all users


class ReadingForm(Strict):
    """How a file is read, as `lodestar.data.readers.options.ReadOptions` has it; what is not given is decided from the file."""

    format: Annotated[Text, "kind of file: csv (text with any delimiter), json-lines, json, python-literal or parquet"] = ""
    delimiter: Annotated[Text, "what stands between the values of a line, of one to 8 characters, as `::`"] = ""
    columns: Annotated[Names, "names of the columns in their order, of a file without a header"] = ()
    header: Annotated[bool | None, "whether line 1 names the columns; where `columns` does, it is skipped; else they are 1, 2, …"] = None
    encoding: Annotated[Text, "encoding of the text, as `latin1`, `cp1252` or `utf-16`"] = ""
    quoting: Annotated[Text, "the quote character; `none`: quotes are text; `backslash`: \\ before a quote makes it text"] = ""

    @model_validator(mode="after")
    def _readable(self) -> "ReadingForm":
        try:
            ReadOptions(**{name: getattr(self, name) for name in ReadingForm.model_fields})
        except ConfigError as error:
            raise ValueError(error.message) from error
        return self


class CellForm(Strict):
    """How values are written: texts that mean null, ids, numbers, and times."""

    null: Annotated[Several, "texts that mean that there is no value, as `NA`"] = ()
    id_type: Annotated[Literal["", "integer", "text"], "`integer` makes one id of `5`, ` 5` and `5.0`; `text` leaves ids as they are"] = ""
    decimal: Annotated[Literal["", ".", ","], "decimal separator; with it or `thousands`, signs of currencies and percent are removed"] = ""
    thousands: Annotated[Literal["", ".", ",", "'", " "], "separator between groups of three digits"] = ""
    time_zone: Annotated[Text, "IANA zone of times without an offset, as `Europe/Berlin`"] = ""
    time_format: Annotated[Text, "form of the times, as strptime has it: `%d.%m.%Y`"] = ""
    time_unit: Annotated[Literal["", "s", "ms", "us", "ns", "date"], "unit of numbers since 1970, or `date` for days as 20260131"] = ""


class Parents(Strict):
    """A file of a tree, by which a category becomes the path from its root."""

    files: Annotated[Several, "names or wildcards of the tree's file"]
    child: Annotated[Numbered, "column of a node"]
    parent: Annotated[Numbered, "column of its parent"]


class ColumnSource(CellForm):
    """Where the values of a contract's column come from: exactly one of `column`, `first`, `together`, `flags`, `constant`, `row`, `names`.

    Then, in this order: `split` and `part`, `html`, `values` and `default`, `separator`, `parents`, `digest`, `numbered`, `prefix`,
    `multiply` and `clip`, `plus` and `plus_unit`.
    """

    column: Annotated[Numbered, "a column, by its name, by its number, or as `outer.inner` in nested JSON"] = ""
    first: Annotated[SeveralColumns, "the first of several columns that has a value"] = ()
    together: Annotated[SeveralColumns, "several columns as one list, or as one text with `glue`"] = ()
    glue: Annotated[Text, "text between the values of `together`"] = ""
    flags: Annotated[SeveralColumns, "columns of 0 and 1: a list of the names of those with 1"] = ()
    constant: Annotated[Text, "one value for all rows"] = ""
    row: Annotated[Text, "the row's number, with this text before it"] = ""
    split: Annotated[Text, "separator of the parts of a text; the value is `part`"] = ""
    part: Annotated[int, Field(ge=1, le=100), "which part, from 1"] = 1
    html: Annotated[bool, "whether HTML entities such as `&amp;` are decoded"] = False
    values: Annotated[dict[str, str], 'values by the file\'s own, as `{ pv = "view" }`; others are `default`, or stay as they are'] = {}
    default: Annotated[Text, "value in place of those that `values` has not"] = ""
    separator: Annotated[Text, "separator of a list's elements"] = ""
    parents: Annotated[Parents | None, "tree by which a category becomes the path from its root"] = None
    multiply: Annotated[float | int | None, "factor of a number"] = None
    clip: Annotated[tuple[float | int, float | int] | None, "lowest and highest number; what lies beyond becomes the bound"] = None
    plus: Annotated[Numbered, "column of numbers that are added to the time"] = ""
    plus_unit: Annotated[Literal["s", "ms", "us", "ns"], "unit of `plus`"] = "s"
    digest: Annotated[bool, "whether the value becomes 16 hex digits of its SHA-256, for ids of long texts"] = False
    numbered: Annotated[bool, "whether values become 0, 1, 2, … in the order in which they first come"] = False
    prefix: Annotated[Text, "text before the value"] = ""
    names: Annotated[dict[str, "Column"], 'columns by the names that they have in `attrs`: `attrs = { names = { age = "Age" } }`'] = {}

    @model_validator(mode="after")
    def _one_source(self) -> "ColumnSource":
        given = [name for name in ("column", "first", "together", "flags", "constant", "row", "names") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} are two sources; give one")
        return self

    @property
    def is_left_out(self) -> bool:
        """Whether the column of this name is to be left out."""
        return not any((self.column, self.first, self.together, self.flags, self.constant, self.row, self.names))


def _as_column(value: Any) -> Any:
    """A name or number in place of `{ column = … }`."""
    return {"column": value} if isinstance(value, str | int) and not isinstance(value, bool) else value


Column = Annotated[ColumnSource, BeforeValidator(_as_column)]


class Explode(Strict):
    """A column that holds a list, which becomes a row for each element; its name alone is enough."""

    column: Annotated[Numbered, "the column with the list: JSON, or text with a separator"]
    separator: Annotated[str, Field(min_length=1, max_length=4), "separator of the elements of a text"] = " "
    into: Annotated[Text, "name of a new column with the element; without it, the element takes the list's place"] = ""
    skip: Annotated[int, Field(ge=0, le=1000), "how many of the first elements are left out"] = 0


class Join(ReadingForm):
    """Another file whose columns are joined to each row."""

    files: Annotated[Several, "names or wildcards of the other file"]
    on: Annotated[Numbered | tuple[Numbered, Numbered], "a column of both files, or a pair: ours, theirs"]
    prefix: Annotated[Text, "text before the names of its columns"] = ""
    optional: Annotated[bool, "whether the join is left out where there is no such file"] = False


class KeyValue(Strict):
    """A file with a property a row."""

    key: Annotated[Numbered, "column of the property's name"]
    value: Annotated[Numbered, "column of its value"]
    latest: Annotated[Numbered, "column of which the greatest value counts; without it, the last row"] = ""


def _as_explode(value: Any) -> Any:
    return {"column": value} if isinstance(value, str | int) else value


class TableSource(ReadingForm, CellForm):
    """A source of one table: its files, how they are read, and its columns."""

    files: Annotated[Several, "names or wildcards below the folder; without it, `TABLE.*` and what lies below `TABLE/`"] = ()
    join: Annotated[tuple[Join, ...], BeforeValidator(one_or_more), "other files whose columns are joined to each row"] = ()
    explode: Annotated[Explode | None, BeforeValidator(_as_explode), "column with a list, which becomes a row for each element"] = None
    only: Annotated[dict[str, Several], "values by column: rows with others are left out, and counted"] = {}
    latest: Annotated[Numbered, "column of which the greatest value decides among rows with one key"] = ""
    distinct: Annotated[bool, "whether the first of rows with one key is kept"] = False
    key_value: Annotated[KeyValue | None, "the file has a property a row instead of a column for each"] = None
    order: Annotated[SeveralColumns, "as `order` of the whole dataset, for this source"] = ()
    recognise: Annotated[Recognition | None, "by what the file is recognised, in declarations of public datasets"] = None
    column_sources: dict[str, Column] = {}

    @model_validator(mode="before")
    @classmethod
    def _columns_apart(cls, value: Any) -> Any:
        """Keys that are no options are columns of the contract."""
        if not isinstance(value, dict):
            return value
        options = {key: one for key, one in value.items() if key in cls.model_fields and key != COLUMN_SOURCES}
        return {**options, COLUMN_SOURCES: {key: one for key, one in value.items() if key not in options}}


class Outliers(Strict):
    """Bounds of a number column of events, or of `events_per_minute` of a user, and the rule for what lies beyond."""

    low: Annotated[float | int | None, "lower bound"] = None
    high: Annotated[float | int | None, "upper bound"] = None
    quantile: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, "quantile that is the upper bound, in place of `high`"] = None
    fitted_on: Annotated[float, Field(gt=0, le=1), "earliest share of the events that the quantile is fitted on"] = 0.8
    rule: Annotated[Literal["keep", "clip", "drop"], "what lies beyond is only counted, becomes the bound, or is left out"] = "drop"

    @model_validator(mode="after")
    def _bounded(self) -> "Outliers":
        if self.low is None and self.high is None and self.quantile is None:
            raise ValueError("give low, high or quantile")
        if self.high is not None and self.quantile is not None:
            raise ValueError("high and quantile are two upper bounds; give one")
        return self


class FeedbackSection(Strict):
    """What of the log trains a model. What is not given has the default of `lodestar.schema.feedback.Feedback`."""

    protocol: Annotated[Literal["", "binary"], "`binary`: all events are positive and seen, of equal weight"] = ""
    domain: Annotated[Text, "general, shop, media, social or education: which types make an item seen"] = ""
    positive: Annotated[dict[str, float | int] | Names, "positive event types, or their weights: `{ view = 1, purchase = 4 }`"] = ()
    negative: Annotated[Names | None, "event types that refuse an item, which is never recommended to that user again"] = None
    rating_positive_from: Annotated[float | int | None, "lowest rating that is positive"] = None
    rating_negative_to: Annotated[float | int | None, "highest rating that is negative"] = None
    seen: Annotated[Names | None, "event types that make an item seen"] = None
    consumption: Annotated[Literal["", "once", "repeat"], "`once`: a seen item is not recommended again; `repeat`: it is"] = ""
    repeat_gap_days: Annotated[Annotated[float | int, Field(ge=0)] | None, "days after which a seen item may be recommended again"] = None


def _as_sources(value: Any) -> Any:
    """A single table section in place of an array of them."""
    return (value,) if isinstance(value, dict) else value


Sources = Annotated[tuple[TableSource, ...], BeforeValidator(_as_sources)]


class Declaration(ReadingForm, CellForm):
    """How the files of a folder become the contract's tables."""

    folder: Annotated[Text, "where the files lie if not beside the declaration, seen from there; never in a bucket"] = ""
    about: Annotated[About, "what the dataset is"] = About()
    reader: Annotated[Text, "code of Lodestar that reads the files, where no declaration can, as `netflix-prize`"] = ""
    event_type: Annotated[Text, "type of every event"] = ""
    event_types: Annotated[dict[str, str], 'event types by value, as `{ pv = "view" }`; `ignore` leaves rows out, and counts them'] = {}
    order: Annotated[
        SeveralColumns, "columns that order a user's events without times, or `row` (by row), or `file` (all users' by row)"
    ] = ()
    rating_scale: Annotated[tuple[float | int, float | int] | None, "lowest and highest rating, as `[0, 10]`"] = None
    arms: Annotated[Several, "arms of experiments in impressions"] = ()
    outliers: Annotated[dict[str, Outliers], "bounds by number column of events, or of `events_per_minute` of a user"] = {}
    feedback: Annotated[FeedbackSection, "what of the log trains a model"] = FeedbackSection()
    users: Annotated[Sources, "sources of users"] = ()
    items: Annotated[Sources, "sources of items"] = ()
    events: Annotated[Sources, "sources of events"] = ()
    impressions: Annotated[Sources, "sources of impressions"] = ()
    item_content: Annotated[Sources, "sources of item_content"] = ()
    relations: Annotated[Sources, "sources of relations"] = ()
    goals: Annotated[Sources, "sources of goals"] = ()

    def sources(self, table: schema.Table) -> tuple[TableSource, ...]:
        """The sources of a table."""
        found: tuple[TableSource, ...] = getattr(self, table.name, ())
        return found

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

    format: Text = ""
    delimiter: Text = ""
    columns: Names = ()
    header: bool | None = None
    encoding: Text = ""
    quoting: Text = ""

    @model_validator(mode="after")
    def _readable(self) -> "ReadingForm":
        try:
            ReadOptions(**{name: getattr(self, name) for name in ReadingForm.model_fields})
        except ConfigError as error:
            raise ValueError(error.message) from error
        return self


class CellForm(Strict):
    """How values are written: texts that mean null, ids, numbers (`decimal`, `thousands`), and times.

    A number loses currency signs and percent signs where `decimal` or `thousands` is given. `time_format` is a format of strptime,
    `time_zone` the IANA zone of times without an offset, `time_unit` that of numbers since 1970 (s, ms, us, ns) or `date` for 20260131.
    """

    null: Several = ()
    id_type: Literal["", "integer", "text"] = ""
    decimal: Literal["", ".", ","] = ""
    thousands: Literal["", ".", ",", "'", " "] = ""
    time_zone: Text = ""
    time_format: Text = ""
    time_unit: Literal["", "s", "ms", "us", "ns", "date"] = ""


class Parents(Strict):
    """A file of a tree, by which a category becomes the path from its root: columns of a node and of its parent."""

    files: Several
    child: Numbered
    parent: Numbered


class ColumnSource(CellForm):
    """Where the values of a contract's column come from: exactly one of `column`, `first`, `together`, `flags`, `constant`, `row`.

    column    a column, by name, by number, or `outer.inner` in nested JSON
    first     the first of several columns that has a value
    together  several columns as one list, or as one text with `glue` between them
    flags     columns of 0 and 1, as a list of the names of those with 1
    constant  one value for all rows
    row       the row's number, with this text before it

    Then, in this order: `split` and `part` (the part from 1 of a text), `html` (entities such as &amp;), `values` (a map of values, others
    as they are or `default`), `separator` (of a list), `parents` (a path in a tree), `digest` (16 hex digits of the text's SHA-256, for ids
    of long texts), `numbered` (0, 1, 2, … in the order in which values first come), `prefix` (a text before it), `multiply` and `clip`
    (numbers), `plus` (a column of numbers in `plus_unit` that is added to a time).
    """

    column: Numbered = ""
    first: SeveralColumns = ()
    together: SeveralColumns = ()
    glue: Text = ""
    flags: SeveralColumns = ()
    constant: Text = ""
    row: Text = ""
    split: Text = ""
    part: Annotated[int, Field(ge=1, le=100)] = 1
    html: bool = False
    values: dict[str, str] = {}
    default: Text = ""
    separator: Text = ""
    parents: Parents | None = None
    multiply: float | int | None = None
    clip: tuple[float | int, float | int] | None = None
    plus: Numbered = ""
    plus_unit: Literal["s", "ms", "us", "ns"] = "s"
    digest: bool = False
    numbered: bool = False
    prefix: Text = ""
    names: dict[str, "Column"] = {}

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
    """A column that holds a list, which becomes a row for each element: JSON, or text with a separator (a space unless given).

    The element takes the column's place, or is a new column `into`; the first `skip` elements are left out.
    """

    column: Numbered
    separator: Annotated[str, Field(min_length=1, max_length=4)] = " "
    into: Text = ""
    skip: Annotated[int, Field(ge=0, le=1000)] = 0


class Join(ReadingForm):
    """Another file whose columns are joined to each row by `on`, a column of both, or a pair of columns (ours, theirs).

    One that is `optional` is left out where there is no such file.
    """

    files: Several
    on: Numbered | tuple[Numbered, Numbered]
    prefix: Text = ""
    optional: bool = False


class KeyValue(Strict):
    """A file with a property a row: columns of the property's name and of its value; the latest by `latest` counts, the last without."""

    key: Numbered
    value: Numbered
    latest: Numbered = ""


def _as_explode(value: Any) -> Any:
    return {"column": value} if isinstance(value, str | int) else value


class TableSource(ReadingForm, CellForm):
    """A source of one table: files (names or wildcards below the dataset's folder), how they are read, and its columns.

    `only` keeps rows with these values in a column. Of rows with one key, `latest` keeps the one with the greatest value in a column,
    `distinct` the first.
    """

    files: Several = ()
    join: Annotated[tuple[Join, ...], BeforeValidator(one_or_more)] = ()
    explode: Annotated[Explode | None, BeforeValidator(_as_explode)] = None
    only: dict[str, Several] = {}
    latest: Numbered = ""
    distinct: bool = False
    key_value: KeyValue | None = None
    order: SeveralColumns = ()
    recognise: Recognition | None = None
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
    """Bounds of a number column of events, or of `events_per_minute`, and the `rule` for what lies beyond: see `OutlierRule`."""

    low: float | int | None = None
    high: float | int | None = None
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None
    fitted_on: Annotated[float, Field(gt=0, le=1)] = 0.8
    rule: Literal["keep", "clip", "drop"] = "drop"

    @model_validator(mode="after")
    def _bounded(self) -> "Outliers":
        if self.low is None and self.high is None and self.quantile is None:
            raise ValueError("give low, high or quantile")
        if self.high is not None and self.quantile is not None:
            raise ValueError("high and quantile are two upper bounds; give one")
        return self


class FeedbackSection(Strict):
    """What of the log trains a model: `positive` types or their weights, `negative` types, thresholds of ratings, `seen` types, repeats.

    With `protocol` binary all else has another default: every event is positive whatever its type or rating, of equal weight, and makes its
    item seen, as published protocols of evaluation have it.
    """

    protocol: Literal["", "binary"] = ""
    domain: Text = ""
    positive: dict[str, float | int] | Names = ()
    negative: Names | None = None
    rating_positive_from: float | int | None = None
    rating_negative_to: float | int | None = None
    seen: Names | None = None
    consumption: Literal["", "once", "repeat"] = ""
    repeat_gap_days: Annotated[float | int, Field(ge=0)] | None = None


def _as_sources(value: Any) -> Any:
    """A single table section in place of an array of them."""
    return (value,) if isinstance(value, dict) else value


Sources = Annotated[tuple[TableSource, ...], BeforeValidator(_as_sources)]


class Declaration(ReadingForm, CellForm):
    """How the files of a folder become the contract's tables.

    `folder` is where the files lie if not beside the declaration, seen from there; a bucket's declaration has its files beside it.
    `event_type` is the type of every event; `event_types` maps values to the contract's types, or to `ignore`. `order` names the columns
    that order a user's events where there are no times, or is `row`, or `file` where the rows of all users are in one order. `rating_scale`
    is the lowest and the highest rating, `arms` are the arms of experiments in impressions. `reader` names code of Lodestar that reads the
    files instead, where no declaration can.
    """

    folder: Text = ""
    about: About = About()
    reader: Text = ""
    event_type: Text = ""
    event_types: dict[str, str] = {}
    order: SeveralColumns = ()
    rating_scale: tuple[float | int, float | int] | None = None
    arms: Several = ()
    outliers: dict[str, Outliers] = {}
    feedback: FeedbackSection = FeedbackSection()
    users: Sources = ()
    items: Sources = ()
    events: Sources = ()
    impressions: Sources = ()
    item_content: Sources = ()
    relations: Sources = ()
    goals: Sources = ()

    def sources(self, table: schema.Table) -> tuple[TableSource, ...]:
        """The sources of a table."""
        found: tuple[TableSource, ...] = getattr(self, table.name, ())
        return found

"""Page of the declaration: every key of a `dataset.toml` with its path, type, default and meaning, as the pydantic model has them."""

import json
from collections.abc import Iterable
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from docs.generate.markdown import code, paragraph, sentence, table
from lodestar.data.declaration import model
from lodestar.data.declaration.about import About, Download, Edition, Recognition
from lodestar.data.declaration.model import CellForm, ColumnSource, Declaration, ReadingForm, TableSource
from lodestar.data.declaration.strict import Numbered, one_or_more

INTRODUCTION = """Every key of a `dataset.toml`, the declaration of how given files become the tables of [tables.md](tables.md).
`lodestar data describe` writes one ([describing.md](../describing.md)); those of public datasets are in [datasets.md](../datasets.md). An
unknown key, a value of another type and values that contradict each other are E141, all at once, each with its path."""
PATHS = """In a path, `TABLE` is a table, `COLUMN` a column of it, and `NAME` a name of one's own. A table with several sources is an array
of tables, `[[events]]`, with these keys in each. What is not given is decided from the files."""

# By heading: the model, and where its keys stand. Keys of the forms of reading and of cells are listed once.
SECTIONS: tuple[tuple[str, type[BaseModel], tuple[str, ...]], ...] = (
    ("The whole dataset", Declaration, ("",)),
    ("Reading files", ReadingForm, ("", "TABLE.", "TABLE.join.")),
    ("Cells", CellForm, ("", "TABLE.", "TABLE.COLUMN.")),
    ("Tables", TableSource, ("TABLE.",)),
    ("Columns", ColumnSource, ("TABLE.COLUMN.",)),
    ("Trees of categories", model.Parents, ("TABLE.COLUMN.parents.",)),
    ("Lists that explode", model.Explode, ("TABLE.explode.",)),
    ("Joins", model.Join, ("TABLE.join.",)),
    ("Properties by key and value", model.KeyValue, ("TABLE.key_value.",)),
    ("Outliers", model.Outliers, ("outliers.COLUMN.",)),
    ("Feedback", model.FeedbackSection, ("feedback.",)),
    ("About the dataset", About, ("about.",)),
    ("Downloads", Download, ("about.download.", "about.editions.NAME.download.")),
    ("Editions", Edition, ("about.editions.NAME.",)),
    ("Recognition", Recognition, ("TABLE.recognise.",)),
)
SHARED: tuple[type[BaseModel], ...] = (ReadingForm, CellForm)
TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text"}
BOUNDS = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}


def page() -> str:
    """The page as Markdown."""
    described = (model.__doc__ or "").partition("\n\n")[2]
    parts = [f"# Declaration of a dataset\n\n{paragraph(INTRODUCTION)}\n{paragraph(described)}\n{paragraph(PATHS)}"]
    return "\n".join([*parts, *(_section(*section) for section in SECTIONS)])


def keys(declared: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a model that are listed with it: not those of a form that it shares, nor the place of columns."""
    shared = {name for form in SHARED if form is not declared and issubclass(declared, form) for name in form.model_fields}
    return {name: found for name, found in declared.model_fields.items() if name not in shared | {model.COLUMN_SOURCES}}


def meaning(field: FieldInfo) -> str:
    """What a key means, as its type is annotated; empty where it is not."""
    return next((one for one in field.metadata if isinstance(one, str)), "")


def _section(heading: str, declared: type[BaseModel], places: tuple[str, ...]) -> str:
    rows = [
        (code(*(f"{place}{name}" for place in places)), _type(field.annotation, field.metadata), _default(field), sentence(meaning(field)))
        for name, field in keys(declared).items()
    ]
    described = "\n".join(map(paragraph, (declared.__doc__ or "").split("\n\n")))
    return f"## {heading}\n\n{described}\n{table(('key', 'type', 'default', 'meaning'), rows)}"


def _default(field: FieldInfo) -> str:
    """The default of a key; empty for none, which is an empty value in the model."""
    if field.is_required():
        return "required"
    is_value = isinstance(field.default, bool | int | float | str) and field.default != ""
    return code(json.dumps(field.default)) if is_value else ""


def _type(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """A type in words; of a list that may be a single value, both."""
    if get_origin(annotation) is Annotated:
        return _type(annotation.__origin__, annotation.__metadata__)
    listed = [bound for one in metadata for bound in (one.metadata if isinstance(one, FieldInfo) else (one,))]
    bounds = [f"{words} {getattr(one, name):g}" for one in listed if type(one) in BOUNDS for words, name in [BOUNDS[type(one)]]]
    is_single_too = any(isinstance(one, BeforeValidator) and one.func is one_or_more for one in listed)
    return ", ".join([f"{'one or a ' * is_single_too}{_plain(annotation)}", *bounds])


def _plain(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if set(get_args(Numbered)) <= set(inner):
        return " or ".join(["column", *(_plain(one) for one in inner if one not in get_args(Numbered))])
    if origin is Literal:
        return code(*filter(None, inner))
    if origin is tuple:
        return f"list of {_plural(inner[0])}" if inner[-1] is Ellipsis else f"two {_plural(inner[0])}"
    if origin is dict:
        return f"table of {_plural(inner[1])}"
    if inner:
        return " or ".join(dict.fromkeys(_type(one) for one in inner if one is not NoneType)).replace("number or whole number", "number")
    return TYPES.get(annotation) or _section_of(annotation)


def _plural(annotation: Any) -> str:
    """Several of a type, in words."""
    if annotation is str or annotation == Numbered:
        return f"{_plain(annotation)}s"
    return "numbers" if "number" in (found := _type(annotation)) else found


def _section_of(declared: Any) -> str:
    """A link to the section of a table's keys; a column is one of them or a name alone."""
    name = declared if isinstance(declared, str) else declared.__name__
    heading = next(heading for heading, found, _ in SECTIONS if found.__name__.startswith(name))
    return f"[keys](#{heading.lower().replace(' ', '-')})"

"""Every page of the reference is what the code writes today."""

from dataclasses import fields

import pytest
from pydantic import BaseModel

from docs.generate import declaration
from docs.generate.__main__ import DOCUMENTS, INDEX, PAGES, PICTURES, REFERENCE, pages
from docs.generate.metrics import labels
from lodestar import schema
from lodestar.config import Recipe
from lodestar.data.declaration.strict import Strict
from lodestar.schema.constraints import fields_of
from serving.metrics import LABELS

REMEDY = "docs/ does not match the code: run `make docs` and commit what it writes"


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return pages()


@pytest.mark.parametrize("name", [INDEX, *PAGES])
def test_the_page_is_up_to_date(name: str, written: dict[str, str]) -> None:
    file = REFERENCE / name
    assert file.is_file(), REMEDY
    assert file.read_text() == written[name], REMEDY


@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_is_up_to_date(name: str) -> None:
    assert (DOCUMENTS / name).read_text() == PICTURES[name](), REMEDY


def test_no_page_is_left_that_nothing_writes(written: dict[str, str]) -> None:
    assert {file.name for file in REFERENCE.iterdir()} == set(written), REMEDY


def test_the_same_code_writes_the_same_bytes(written: dict[str, str]) -> None:
    assert pages() == written


def test_every_table_and_column_says_what_it_is() -> None:
    tables = list(schema.TABLES.values())
    assert [f"{found.name}.{column.name}" for found in tables for column in found.columns if not column.description] == []
    assert [found.name for found in tables if not found.description] == []


def test_every_field_of_a_recipe_says_what_it_means() -> None:
    sections = {entry.name: fields_of(entry.default_factory) for entry in fields(Recipe) if entry.name != "name"}  # type: ignore[arg-type]
    assert [f"{section}.{name}" for section, found in sections.items() for name, (*_, meaning) in found.items() if not meaning] == []


def test_every_key_of_a_declaration_says_what_it_means() -> None:
    listed = {model: declaration.keys(model) for _, model, _ in declaration.SECTIONS}
    assert [
        f"{model.__name__}.{name}" for model, keys in listed.items() for name, key in keys.items() if not declaration.meaning(key)
    ] == []


def test_every_table_of_a_declaration_is_on_its_page() -> None:
    inner: set[type[BaseModel]] = {Strict}
    while more := {one for model in inner for one in model.__subclasses__()} - inner:
        inner |= more
    assert inner - {Strict} == {model for _, model, _ in declaration.SECTIONS}


def test_every_label_of_a_metric_says_what_it_means_and_no_other() -> None:
    assert labels() == set(LABELS)

"""Whatever JSON is given for whatever field of a recipe: it is refused with a code, or every value lies where its field says it may."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestar.config import Recipe, from_json, override, to_json
from lodestar.errors import ConfigError
from lodestar.recipes import RECIPES, get_recipe, merge_overrides

SECTIONS = {
    entry.name: [field.name for field in dataclasses.fields(getattr(Recipe(name="any"), entry.name))]
    for entry in dataclasses.fields(Recipe)
    if entry.name != "name"
}
EDGES: list[Any] = [
    0,
    1,
    -1,
    2,
    10,
    64,
    200,
    201,
    2**31 - 1,
    2**31,
    2**63,
    10**12,
    -0.0,
    0.5,
    1.0,
    1e-308,
    1e308,
    1e999,
    math.nan,
    True,
    None,
]
WORDS: list[Any] = [
    "",
    "sasrec",
    "blend",
    "content",
    "cuda",
    "bf16",
    "time",
    "gbce",
    "rowwise_adagrad",
    "pretrained:x",
    "s3://b/k",
    "\ud800",
]
scalars = st.sampled_from([*EDGES, *WORDS]) | st.integers() | st.floats() | st.text(max_size=20) | st.booleans()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6
)


@st.composite
def overrides(draw: st.DrawFn) -> str:
    chosen: dict[str, dict[str, Any]] = {}
    for _ in range(draw(st.integers(0, 4))):
        section = draw(st.sampled_from(sorted(SECTIONS)))
        chosen.setdefault(section, {})[draw(st.sampled_from(SECTIONS[section]))] = draw(values)
    return json.dumps(chosen)


def changed(name: str, text: str) -> Recipe | str:
    """The recipe, or what it was refused with."""
    try:
        return override(get_recipe(name), text)
    except ConfigError as error:
        return str(error)


@given(name=st.sampled_from(sorted(RECIPES)), text=overrides())
def test_an_override_is_refused_with_a_code_or_gives_a_whole_recipe(name: str, text: str) -> None:
    found = changed(name, text)
    if isinstance(found, str):
        assert found.startswith("E180 ")
        return
    assert from_json(to_json(found)) == found
    for section, before in ((section, getattr(get_recipe(name), section)) for section in SECTIONS):
        for field, value in dataclasses.asdict(getattr(found, section)).items():
            assert type(value) is type(getattr(before, field))
            assert not isinstance(value, float) or math.isfinite(value)
            assert not isinstance(value, int) or 0 <= value <= 2**31


@given(text=st.text(max_size=40) | values.map(json.dumps))
def test_any_text_is_refused_with_a_code_or_changes_nothing(text: str) -> None:
    found = changed("tiny", text)
    assert found.startswith("E180 ") if isinstance(found, str) else found == get_recipe("tiny")


def test_of_several_overrides_the_later_value_stands() -> None:
    texts = ['{"train": {"epochs": 3, "seed": 1}}', "{}", '{"train": {"seed": 2}, "compression": {"max_ndcg_drop": 0}}']
    assert json.loads(merge_overrides(texts)) == {"train": {"epochs": 3, "seed": 2}, "compression": {"max_ndcg_drop": 0}}
    with pytest.raises(ConfigError, match="name a field twice"):
        merge_overrides(["{}", '{"train": {"seed": 1, "seed": 2}}'])

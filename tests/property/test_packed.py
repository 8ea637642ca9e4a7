"""Rows of a view in bytes: whatever is packed is read again, and whatever was cut or changed is an error and nothing else."""

import contextlib
import math
import struct
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lodestar.schema import packed
from lodestar.schema.packed import KINDS, Layout

WIDTHS = {"i4": 31, "i8": 63}
FLOATS = {"f4": some.floats(width=32, allow_nan=False), "f8": some.floats(allow_nan=False)}
NUMBERS: dict[str, Any] = {
    **FLOATS,
    **{kind: some.integers(-(2**bits), 2**bits - 1) for kind, bits in WIDTHS.items()},
    "bool": some.booleans(),
}
TEXT = some.text(max_size=300)
VALUES = {
    **NUMBERS,
    **{f"{kind}s": some.lists(values, max_size=20) for kind, values in NUMBERS.items()},
    "text": TEXT,
    "bytes": some.binary(max_size=40),
    "texts": some.lists(TEXT, max_size=20),
}
TIMES = some.integers(-(2**62), 2**62)


@some.composite
def rows(draw: some.DrawFn) -> tuple[Layout, list[Any], bytes]:
    kinds = draw(some.lists(some.sampled_from(KINDS), min_size=1, max_size=20))
    layout = Layout(names=tuple(f"f{place}" for place in range(len(kinds))), kinds=tuple(kinds), ttl_us=draw(some.integers(0, 2**40)))
    values = [draw(some.none() | VALUES[kind]) for kind in kinds]
    return layout, values, layout.pack(values, draw(TIMES), draw(TIMES))


@given(row=rows())
def test_what_is_packed_is_read_again_whole_and_one_by_one(row: tuple[Layout, list[Any], bytes]) -> None:
    layout, values, content = row
    assert layout.unpack(content) == values
    assert [layout.value(content, name) for name in layout.names] == values
    assert layout.value(content, "of another view") is None
    assert packed.from_json(layout.to_json()) == layout


@given(row=rows(), share=some.floats(0, 1), noise=some.binary(max_size=8))
def test_bytes_that_are_cut_or_changed_are_a_value_or_a_value_error(
    row: tuple[Layout, list[Any], bytes], share: float, noise: bytes
) -> None:
    layout, _, content = row
    place = int(share * len(content))
    for wrong in (content[:place], content[:place] + noise + content[place + len(noise) :]):
        for read in (layout.unpack, *(lambda wrong, name=name: layout.value(wrong, name) for name in layout.names)):
            with contextlib.suppress(ValueError):
                read(wrong)
    if place < len(content):
        with pytest.raises(ValueError, match="are not a row of"):
            layout.unpack(content[:place])


@given(event_us=TIMES, ttl_us=some.integers(1, 2**40), past_us=some.integers(-5, 5))
def test_a_row_is_too_old_once_its_time_to_live_has_passed(event_us: int, ttl_us: int, past_us: int) -> None:
    layout = Layout(names=("a",), kinds=("f4",), ttl_us=ttl_us)
    row = layout.pack([1.0], event_us, 0)
    assert layout.is_expired(row, event_us + ttl_us + past_us) == (past_us > 0)
    assert not Layout(names=("a",), kinds=("f4",)).is_expired(row, 2**62)


@given(value=some.floats(width=32) | some.just(math.nan))
def test_a_number_keeps_every_bit(value: float) -> None:
    layout = Layout(names=("a",), kinds=("f4",))
    assert struct.pack("<f", layout.value(layout.pack([value], 0, 0), "a")) == struct.pack("<f", value)


def test_layouts_that_differ_in_anything_are_told_apart() -> None:
    choices = product((("a", "b"), ("b", "a")), (("f4", "f8"), ("f8", "f4")), (0, 1))
    layouts = [Layout(names=names, kinds=kinds, ttl_us=ttl_us) for names, kinds, ttl_us in choices]
    assert len({layout.signature for layout in layouts}) == len(layouts)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"names": ["a"], "kinds": ["f2"], "ttl_us": 0}', '{"names": ["a"], "kinds": [], "ttl_us": 0}']
)
def test_a_text_that_describes_no_layout_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"not the JSON of a layout|Expecting value|one kind per name"):
        packed.from_json(text)

"""A text has one vector, alone or among others; texts that share letters are near each other."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from lodestar.features.text.text import DIM, NGRAM_SIZES, embed


@given(texts=some.lists(some.text(max_size=40), max_size=12), places=some.data())
def test_a_text_has_the_same_bits_alone_and_among_others(texts: list[str], places: some.DataObject) -> None:
    together = embed(texts)
    assert together.shape == (len(texts), DIM)
    for place, text in enumerate(texts):
        assert embed([text])[0].tobytes() == together[place].tobytes()


@given(text=some.text(max_size=40))
def test_a_vector_is_of_length_one_or_nothing(text: str) -> None:
    length = float(np.linalg.norm(embed([text])[0].astype(np.float64)))
    assert length == 0.0 or abs(length - 1) < 1e-6


@given(words=some.lists(some.text(some.characters(categories=["L"]), min_size=1, max_size=9), max_size=6))
def test_white_space_and_case_do_not_matter(words: list[str]) -> None:
    plain, other = embed([" ".join(words), "  \t".join(words).casefold() + "\n"])
    assert plain.tobytes() == other.tobytes()


def test_the_vector_never_changes_since_models_are_trained_on_it() -> None:
    """By hand, letter by letter: what is stored by an old build must be what a new one makes."""
    sums = [0] * DIM
    letters = b" red lamp "
    for run in NGRAM_SIZES:
        for start in range(len(letters) - run + 1):
            part = letters[start : start + run]
            if b" " in part[1:-1]:
                continue
            code = 0
            for letter in part:
                code = ((code ^ letter) * 0x100000001B3) % (1 << 64)
            code = code * 0x9E3779B97F4A7C15 % (1 << 64)
            sums[code >> 58] += 1 if code & (1 << 57) else -1
    expected = (np.array(sums) / np.sqrt(sum(one * one for one in sums))).astype(np.float32)
    assert embed(["Red  lamp"])[0].tobytes() == expected.tobytes()


def test_what_reads_alike_is_near() -> None:
    lamp, lamps, boot = embed(["red desk lamp", "red desk lamps", "leather hiking boot"])
    assert lamp @ lamps > 0.8
    assert lamp @ boot < 0.4

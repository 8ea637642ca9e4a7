"""Hand-computed codes, and tables longer than what is scored at once."""

import numpy as np
import pytest

from lodestar.bundle.item_table import PRECISIONS, ROWS_AT_ONCE, Precision, quantise

VECTORS = np.array([[7, -3, 0], [0, 0, 0], [0.07, 0.02, -0.07]], dtype=np.float32)


def test_every_row_has_its_own_step() -> None:
    table = quantise(VECTORS, "int4")
    assert table.scale == pytest.approx([1, 1, 0.01])
    assert table.vectors(np.array([2, 0])) == pytest.approx(np.array([[0.07, 0.02, -0.07], [7, -3, 0]]))


def test_two_codes_share_a_byte_first_half_low() -> None:
    table = quantise(VECTORS, "int4")
    # 7, -3, 0 and a fill-in are 15, 5, 8, 8 once 8 is added: low halves 15 and 5, high halves 8 and 8.
    assert table.codes[0].tolist() == [15 + 8 * 16, 5 + 8 * 16]


def test_int8_codes_reach_127() -> None:
    table = quantise(VECTORS, "int8")
    assert table.codes.tolist() == [[127, -54, 0], [0, 0, 0], [127, 36, -127]]


@pytest.mark.parametrize(("precision", "expected"), [("fp32", 3 * 3 * 4), ("int8", 3 * 3 + 3 * 4), ("int4", 3 * 2 + 3 * 4)])
def test_size_counts_codes_and_steps(precision: Precision, expected: int) -> None:
    assert quantise(VECTORS, precision).num_bytes == expected


@pytest.mark.parametrize("precision", PRECISIONS)
def test_scores_of_a_long_table_are_those_of_its_parts(precision: Precision) -> None:
    generator = np.random.default_rng(0)
    vectors_ND = generator.normal(size=(2 * ROWS_AT_ONCE + 3, 5)).astype(np.float32)
    users_BD = generator.normal(size=(2, 5)).astype(np.float32)
    table = quantise(vectors_ND, precision)
    expected = users_BD @ table.vectors(np.arange(len(table))).T
    np.testing.assert_allclose(table.scores(users_BD), expected, atol=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_empty_table_and_no_users_are_allowed(precision: Precision) -> None:
    assert quantise(np.zeros((0, 4), dtype=np.float32), precision).scores(np.ones((2, 4), dtype=np.float32)).shape == (2, 0)
    assert quantise(np.ones((3, 4), dtype=np.float32), precision).scores(np.ones((0, 4), dtype=np.float32)).shape == (0, 3)


def test_a_step_may_cut_what_stands_out_to_serve_the_rest() -> None:
    row = np.array([[1.0, *[0.5] * 14]], dtype=np.float32)  # of odd length it is not turned but for signs
    plain, table = np.abs(row).max() / 7, quantise(row, "int4")
    error = np.linalg.norm(table.vectors(np.array([0])) - row)
    assert table.scale[0] < plain
    assert error < np.linalg.norm(np.rint(row / plain) * plain - row)


def test_turning_spreads_what_stands_out() -> None:
    row = np.eye(1, 16, 3, dtype=np.float32) + 0.01 * np.ones((1, 16), dtype=np.float32)
    table = quantise(row, "int4")  # pyrefly: ignore[bad-argument-type]
    assert table.scale[0] < np.abs(row).max() / 7 / 3
    assert table.vectors(np.array([0])) == pytest.approx(row, abs=0.02)

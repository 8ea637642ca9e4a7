"""The item table keeps vectors within half a step, and scores them as if they were decoded first."""

import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from hypothesis.strategies import DrawFn, composite, floats, sampled_from

from lodestar.bundle.item_table import MAX_CODE, PRECISIONS, ItemTable, Precision, _pack_int4, from_arrays, quantise
from lodestar.schema.arrays import Floats as Vectors

SMALL_ENOUGH = floats(-100, 100, width=32, allow_subnormal=False)
ALMOST = 1.001  # a float32 step is itself rounded
QUANTISED: tuple[Precision, ...] = ("int8", "int4")


@composite
def vectors(draw: DrawFn) -> Vectors:
    return draw(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=SMALL_ENOUGH))


def decoded(table: ItemTable) -> Vectors:
    return table.vectors(np.arange(len(table)))


@given(vectors_ND=vectors(), precision=sampled_from(QUANTISED))
def test_a_row_is_off_by_at_most_half_a_step_per_value(vectors_ND: Vectors, precision: Precision) -> None:
    widest_step = np.linalg.norm(vectors_ND, axis=1) / MAX_CODE[precision]
    root_mean_square = np.sqrt(((decoded(quantise(vectors_ND, precision)) - vectors_ND) ** 2).mean(axis=1))
    assert (root_mean_square <= widest_step / 2 * ALMOST).all()


@given(vectors_ND=vectors())
def test_full_precision_is_the_identity(vectors_ND: Vectors) -> None:
    assert np.array_equal(decoded(quantise(vectors_ND, "fp32")), vectors_ND)


@given(codes=arrays(np.int8, array_shapes(min_dims=2, max_dims=2, max_side=17), elements=sampled_from(range(-7, 8))))
def test_packing_two_codes_to_a_byte_loses_none(codes: np.ndarray) -> None:
    codes[:, 0] = MAX_CODE["int4"]  # it makes the step one
    turned = ItemTable(precision="int4", dim=codes.shape[1], codes=_pack_int4(codes), scale=np.ones(len(codes), dtype=np.float32))
    again = quantise(decoded(turned), "int4")
    assert np.array_equal(again.codes, turned.codes)
    assert np.allclose(again.scale, 1)


@given(vectors_ND=vectors(), precision=sampled_from(PRECISIONS))
def test_a_table_survives_its_arrays(vectors_ND: Vectors, precision: Precision) -> None:
    table = quantise(vectors_ND, precision)
    again = from_arrays(precision, table.arrays())
    assert np.array_equal(decoded(again), decoded(table))
    assert (again.dim, len(again), again.num_bytes) == (table.dim, len(table), table.num_bytes)


@given(vectors_ND=vectors(), precision=sampled_from(PRECISIONS))
def test_scores_are_products_with_the_decoded_vectors(vectors_ND: Vectors, precision: Precision) -> None:
    table, users_BD = quantise(vectors_ND, precision), (vectors_ND[::-1] / 100).astype(np.float32)
    expected = users_BD.astype(np.float64) @ decoded(table).astype(np.float64).T
    assert np.allclose(table.scores(users_BD), expected, rtol=1e-4, atol=1e-3)

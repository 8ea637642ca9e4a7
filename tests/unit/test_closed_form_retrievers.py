"""Every family without a training loop, in the form that is served, ranks as its model does; so does a blend of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lodestar.config import NEIGHBOUR_SCORED_FAMILIES
from lodestar.data.split.splits import EvalCases
from lodestar.engine import onnx_runtime
from lodestar.models.closed_form import closed_form_retrievers
from lodestar.models.closed_form.baselines import BASELINES, Baseline
from lodestar.models.closed_form.closed_form_retrievers import FAMILIES, ConstantEncoder, Hyperparameters, Retriever
from lodestar.models.closed_form.counts import Sequences, TrainingData
from lodestar.models.closed_form.ease import EASE
from lodestar.models.closed_form.gf_cf import GFCF
from lodestar.models.closed_form.ials import IALS
from lodestar.models.encoders.concat_encoder import blended
from lodestar.schema.arrays import Floats
from lodestar.training.ensemble.blend_weights import fit_blend_weights
from lodestar.training.loop.batches import left_pad
from lodestar.training.publish.export import graph_bytes

NUM_ITEMS, DIM = 14, 6
SETTINGS: dict[str, Hyperparameters] = {
    "ease": {"regularisation": 3.0},
    "gf_cf": {"frequencies": 4, "ideal_weight": 0.7},
    "ials": {"unobserved_weight": 0.2, "regularisation": 0.02},
}


def sequences(seed: int = 0, count: int = 40) -> Sequences:
    rng = np.random.default_rng(seed)
    return [rng.choice(NUM_ITEMS, rng.integers(1, 9), replace=False).astype(np.int32) for _ in range(count)]


def model(name: str) -> Baseline:
    """The family's model, with the same setting."""
    made: dict[str, Baseline] = {
        "ease": EASE(regularisation=3.0),
        "gf_cf": GFCF(frequencies=4, ideal_weight=0.7),
        "ials": IALS(dim=DIM, unobserved_weight=0.2, regularisation=0.02),
    }
    return made[name] if name in made else BASELINES[name]()


def fitted(name: str, rows: Sequences, rank: int = NUM_ITEMS) -> Retriever:
    return FAMILIES[name][0](known(rows), DIM if name == "ials" else rank, 0)(SETTINGS.get(name, {}))


def known(rows: Sequences) -> TrainingData:
    return TrainingData(sequences=rows, times_us=[np.arange(len(row)) for row in rows], num_items=NUM_ITEMS)


@torch.no_grad()
def scores(found: Retriever, histories: Sequences) -> Floats:
    history, mask = left_pad(histories)
    table = torch.from_numpy(found.vectors)
    result: Floats = (found.encoder(table[history] * mask[:, :, None], mask) @ table.T).numpy()
    if found.neighbours is not None:
        found.neighbours.add_to(result, histories)
    return result


def unseen(scores_BN: Floats, histories: Sequences) -> Floats:
    """Scores of what a history holds are left out: no one looks at them."""
    for row, history in zip(scores_BN, histories, strict=True):
        row[history] = 0
    return scores_BN


@pytest.mark.parametrize("small", [closed_form_retrievers.DENSE_SOLVER_LIMIT, 2])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in NEIGHBOUR_SCORED_FAMILIES])  # which have tests of their own
def test_a_family_scores_as_its_model_does(name: str, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_form_retrievers, "DENSE_SOLVER_LIMIT", small)
    rows, queries = sequences(), sequences(1, 20)
    found = unseen(scores(fitted(name, rows), queries), queries)
    expected = unseen(model(name).fit(rows, NUM_ITEMS).score(queries), queries)
    if name == "popularity":
        expected = np.log1p(expected)
    if small == 2 and name not in {"ials", "popularity"}:  # one direction, the weakest, is not found
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9
    else:
        np.testing.assert_allclose(found, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_graph_gives_what_the_encoder_gives(name: str, tmp_path: Path) -> None:
    found, queries = fitted(name, sequences()), sequences(2, 7)
    graph = tmp_path / "encoder.onnx"
    graph.write_bytes(graph_bytes(found.encoder, found.vectors.shape[1]))
    history, mask = left_pad(queries)
    vectors = torch.from_numpy(found.vectors)[history] * mask[:, :, None]
    (users,) = onnx_runtime.session(graph, threads=1).run(None, {"history": vectors.numpy(), "mask": mask.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(users, found.encoder(vectors, mask).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_fewer_directions_still_tell_groups_apart(name: str) -> None:
    """Two groups of users who take different things: what the own group takes comes before what the other does."""
    rng = np.random.default_rng(4)
    rows = [rng.permutation(7)[:5].astype(np.int32) + 7 * (number % 2) for number in range(60)]
    (found,) = scores(fitted(name, rows, rank=3), [np.array([0, 1, 2], dtype=np.int32)])
    if name != "popularity":
        assert found[3:7].min() > found[7:].max()


def cases(seed: int, count: int) -> EvalCases:
    rows = sequences(seed, count)
    rows = [row for row in rows if len(row) > 1]
    return EvalCases(user=np.arange(len(rows), dtype=np.int32), history=[row[:-1] for row in rows], relevant=[row[-1:] for row in rows])


def test_a_blend_scores_as_the_weighted_sum_of_its_parts() -> None:
    names, weights = ("item_knn", "cooccurrence", "popularity", "ials"), [0.5, 2.0, 0.0, 1.5]
    parts, queries = [fitted(name, sequences()) for name in names], sequences(3, 9)
    together = blended(parts, weights)
    assert together.vectors.shape[1] == sum(part.vectors.shape[1] for part in parts) - parts[2].vectors.shape[1]
    expected = sum(weight * scores(part, queries) for weight, part in zip(weights, parts, strict=True))
    np.testing.assert_allclose(scores(together, queries), expected, rtol=1e-4, atol=1e-4)


def test_weights_favour_the_part_that_is_right_and_leave_out_noise() -> None:
    """One part knows what everyone takes next, another one has scores that mean nothing, in a spread a hundred times as wide."""
    rng, queries = np.random.default_rng(6), cases(7, 200)
    ahead = [np.append(row, (row[-1] + 1) % NUM_ITEMS).astype(np.int32) for row in queries.history]
    queries = EvalCases(user=queries.user, history=queries.history, relevant=[row[-1:] for row in ahead])
    onward = FAMILIES["cooccurrence"][0](known(ahead), NUM_ITEMS, 0)({})
    noise = Retriever(vectors=100 * rng.normal(size=(NUM_ITEMS, 1)).astype(np.float32), encoder=ConstantEncoder())
    right, wrong = fit_blend_weights([onward, noise], queries, 200, 0)
    assert right * float(scores(onward, queries.history).std()) > 20 * wrong * float(scores(noise, queries.history).std())

"""Validation between epochs against a case worked out by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lodestar.config import ModelConfig
from lodestar.data.split.splits import EvalCases
from lodestar.evaluation.metrics import ndcg as evaluated_ndcg
from lodestar.evaluation.metrics import rank
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.progress import Progress
from lodestar.training.distributed.distributed import Group
from lodestar.training.loop import validation
from lodestar.training.loop.validation import Quality, Targets, Validator, quality_sums


class Fixed(NextItemModel):
    """Scores every history alike: item 0 first, item 1 second and so on."""

    def scores(self, history_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        return self.items.weight.T.expand(len(history_BT), -1).clone()


@pytest.fixture
def model() -> Fixed:
    model = Fixed(20, ModelConfig(dim=1, num_layers=1, num_heads=1))
    model.items.weight.data = torch.arange(20, 0, -1).float()[:, None]
    return model


def validate(model: NextItemModel, questions: EvalCases) -> Quality:
    return Validator(questions, 5, model.items.num_embeddings, Group())(model)


def cases(*pairs: tuple[list[int], list[int]]) -> EvalCases:
    history, relevant = ([np.array(pair[side], dtype=np.int32) for pair in pairs] for side in (0, 1))
    return EvalCases(user=np.arange(len(pairs), dtype=np.int32), history=history, relevant=relevant)


def test_ranks_count_unseen_items_only(model: Fixed) -> None:
    quality = validate(model, cases(([0, 1], [2]), ([0], [2]), ([19], [10])))
    assert quality.hit_rate == pytest.approx(2 / 3)
    assert quality.ndcg == pytest.approx((1 + 1 / np.log2(3)) / 3)
    assert quality.accuracy == pytest.approx(1 / 3)


def test_several_relevant_items_are_measured_against_the_best_order(model: Fixed) -> None:
    quality = validate(model, cases(([5], [0, 2])))
    assert quality.ndcg == pytest.approx((1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3)))


def test_a_model_of_nan_scores_nothing(model: Fixed) -> None:
    model.items.weight.data.fill_(torch.nan)
    assert validate(model, cases(([5], [0]))).hit_rate == 0


def test_no_cases_score_nothing(model: Fixed) -> None:
    assert validate(model, cases()).ndcg == 0


def test_auc_is_the_share_of_unseen_items_that_the_wanted_one_beats_and_stands_beside_a_base_rate(model: Fixed) -> None:
    quality = validate(model, cases(([0, 1], [2]), ([0, 19], [10]), ([1], [10])))
    assert quality.auc == pytest.approx((1 + (1 - 9 / 17) + (1 - 9 / 18)) / 3)
    assert quality.base_rate == pytest.approx(2 / 3)


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the most elements of any tensor that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.elements = max(self.elements, *(part.numel() for part in (found,) if isinstance(part, torch.Tensor)), 0)
        return found


def test_memory_does_not_grow_with_the_relevant_items_and_the_metrics_are_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.permutation(200).tolist() for _ in range(8)]
    asked = cases(*((row[:5], row[5 : 5 + count]) for row, count in zip(rows, (1, 60, 2, 60, 60, 1, 60, 60), strict=True)))
    scores = torch.from_numpy(rng.normal(size=(8, 200)).astype(np.float32))
    whole = quality_sums(scores.clone(), Targets.of(asked, np.arange(8)))
    for at_once in (200, 1_000, 1_600):
        monkeypatch.setattr(validation, "SCORES_AT_ONCE", at_once)
        with Largest() as largest:  # type: ignore[no-untyped-call]
            found = quality_sums(scores.clone(), Targets.of(asked, np.arange(8)))
        assert largest.elements <= 1_600  # the scores themselves
        assert torch.equal(found, whole)


def test_relevant_items_that_tie_are_not_counted_against_each_other_as_in_the_evaluation(model: Fixed) -> None:
    """One case has a tie of two relevant items and one that is not, one of three, and one has none."""
    model.items.weight.data = torch.tensor([9.0, 9, 9, 5, 5, 5, 4, 3, 2, 1])[:, None]
    asked = cases(([8, 9], [0, 2]), ([9], [5, 3, 4, 0]), ([0], [6]))
    scores = model.items.weight.detach().T.numpy().repeat(3, axis=0).astype(np.float32)
    expected = rank(lambda histories: scores[: len(histories)], asked, 10, 3, Progress("rank", 3))
    quality = Validator(asked, 5, 10, Group())(model)
    assert quality.ndcg == pytest.approx(evaluated_ndcg(expected, 10).mean())

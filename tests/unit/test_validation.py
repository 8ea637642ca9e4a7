"""Validation between epochs against a case worked out by hand."""

import numpy as np
import pytest
import torch

from lodestar.config import ModelConfig
from lodestar.data.split.splits import EvalCases
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.training.distributed.distributed import Group
from lodestar.training.loop.validation import Quality, Validator


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

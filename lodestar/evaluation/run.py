"""Evaluation step: evaluate an exported bundle and every baseline on the test set; publish metrics, report and model card."""

import json
from pathlib import Path

from lodestar.bundle import bundle as bundles
from lodestar.bundle.training_record import refuse_other_recipe
from lodestar.config import Recipe
from lodestar.errors import UsageError
from lodestar.evaluation.evaluator import Evaluator
from lodestar.evaluation.gate import EVALUATION
from lodestar.evaluation.report.card import card
from lodestar.evaluation.report.report import page
from lodestar.evaluation.results import Evaluation
from lodestar.features.batch import feature_set
from lodestar.io import storage
from lodestar.progress import activity, log_event

REPORT, CARD, HEADLINE = "report.html", "model_card.md", "headline.json"


def evaluate(features: Path, bundle: Path, evaluation_folder: Path, recipe: Recipe, *, uncompressed: Path | None = None) -> Evaluation:
    """Evaluate a bundle; publish evaluation.json, headline.json, report.html and model_card.md in the folder `evaluation_folder`.

    `uncompressed` is the bundle before compression, evaluated on the same cases. Raises UsageError if a bundle was trained on other
    features, E192 if with another recipe or split, E301 where `evaluation_folder` is something else than an evaluation.
    """
    storage.refuse_other_folder(evaluation_folder, EVALUATION)
    loaded_features, loaded = feature_set.load(features), bundles.load(bundle)
    loaded_uncompressed = loaded if uncompressed is None else bundles.load(uncompressed)
    for one in (loaded, loaded_uncompressed):
        if one.info.features != loaded_features.generation:
            raise UsageError(f"{one.root} was trained on features {one.info.features}, {features} holds {loaded_features.generation}")
        refuse_other_recipe(one.root, one.info.recipe, one.info.training, recipe)
    evaluator = Evaluator(loaded_features, loaded, loaded_uncompressed, recipe)
    evaluation = evaluator.evaluation()
    if evaluation.verdict.is_forced:
        log_event("forced", digest=loaded.digest, reason=evaluation.verdict.reason)
    with storage.publish_folder(evaluation_folder) as folder, activity("writing the report"):
        folder.joinpath(EVALUATION).write_text(evaluation.to_json())
        folder.joinpath(HEADLINE).write_text(json.dumps(evaluation.headline(), indent=2, sort_keys=True) + "\n")
        folder.joinpath(REPORT).write_text(page(evaluation, evaluator.report_data(evaluation.best_baseline)))
        folder.joinpath(CARD).write_text(card(evaluation))
    return evaluation

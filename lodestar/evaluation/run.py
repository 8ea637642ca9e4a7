"""Judge the exported bundle beside every baseline on the test part, and leave the figures, a page and a model card."""

import json
from pathlib import Path

from lodestar import bundle as bundles
from lodestar import storage
from lodestar.config import Recipe
from lodestar.errors import UsageError
from lodestar.evaluation.card import card
from lodestar.evaluation.guard import EVALUATION
from lodestar.evaluation.judge import Judge
from lodestar.evaluation.outcome import Evaluation
from lodestar.evaluation.report import page
from lodestar.features import store

REPORT, CARD, HEADLINE = "report.html", "model_card.md", "headline.json"


def evaluate(features: Path, bundle: Path, target: Path, recipe: Recipe, *, uncompressed: Path | None = None) -> Evaluation:
    """Publish evaluation.json, headline.json, report.html and model_card.md about a bundle, beside the one that it was compressed from.

    UsageError where a bundle was trained on other features.
    """
    found, source = store.load(features), bundles.load(bundle)
    full = source if uncompressed is None else bundles.load(uncompressed)
    for loaded in (source, full):
        if loaded.info.features != found.digest:
            raise UsageError(f"{loaded.root} was trained on features {loaded.info.features}, {features} holds {found.digest}")
    judge = Judge(found, source, full, recipe)
    evaluation = judge.evaluation()
    with storage.publish_folder(target) as folder:
        folder.joinpath(EVALUATION).write_text(evaluation.to_json())
        folder.joinpath(HEADLINE).write_text(json.dumps(evaluation.headline(), indent=2, sort_keys=True) + "\n")
        folder.joinpath(REPORT).write_text(page(evaluation, judge.exhibits(evaluation.rival)))
        folder.joinpath(CARD).write_text(card(evaluation))
    return evaluation

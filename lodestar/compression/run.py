"""Compression step: build quantised variants of a bundle, measure quality and latency, publish the smallest that is not worse."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lodestar.bundle.bundle import INFO, Bundle, load
from lodestar.bundle.training_record import knows_validation, refuse_other_recipe
from lodestar.compression import variants
from lodestar.compression.latency import request_times_ms
from lodestar.compression.quality import K, change, mean_ndcg, overlap, rank_cases
from lodestar.compression.selection import Variant, markdown, select_variant
from lodestar.config import EvaluationConfig, Recipe
from lodestar.data.split.splits import EvalCases, affordable
from lodestar.engine.recommender import Recommender
from lodestar.errors import UsageError
from lodestar.evaluation.metrics import Ranking
from lodestar.features.batch import feature_set
from lodestar.io import storage
from lodestar.io.private_folders import workspace
from lodestar.progress import Progress, activity, log_event

TABLE_JSON, TABLE_MARKDOWN = "compression.json", "compression.md"


def compress(features: Path, uncompressed: Path, bundle: Path, recipe: Recipe) -> list[Variant]:
    """Publish the chosen variant at `bundle` with compression.json and compression.md; all measured variants.

    Other files next to the uncompressed bundle's are copied. UsageError if that was trained on other features, or is compressed,
    E192 if with another recipe or split, and E301 where `bundle` is something else than a bundle.
    """
    storage.refuse_other_folder(bundle, INFO)
    loaded_features, loaded = feature_set.load(features), load(uncompressed)
    if loaded.info.features != loaded_features.generation:
        raise UsageError(f"{uncompressed} was trained on features {loaded.info.features}, {features} holds {loaded_features.generation}")
    refuse_other_recipe(uncompressed, loaded.info.recipe, loaded.info.training, recipe)
    cases = affordable(loaded_features.split(recipe.data).validation, len(loaded_features.items), recipe.evaluation, "validation")
    with workspace() as folder:
        with activity("quantising"):
            bundles = variants.build(loaded, Path(folder))
        measured = select_variant(_measure(bundles, cases, recipe), recipe.compression.max_ndcg_drop)
        for variant in measured:
            log_event("variant", **asdict(variant))
        chosen = next(built for built, variant in zip(bundles, measured, strict=True) if variant.is_chosen)
        with storage.publish_folder(bundle) as work:
            shutil.copytree(uncompressed, work, dirs_exist_ok=True)
            shutil.copytree(chosen.root, work, dirs_exist_ok=True)
            _report(work, measured, len(cases), recipe, loaded)
    return measured


def _measure(bundles: list[Bundle], cases: EvalCases, recipe: Recipe) -> list[Variant]:
    recommenders = [Recommender(bundle) for bundle in bundles]
    with Progress("compress", len(bundles) * len(cases)) as progress:
        rankings = [rank_cases(recommender, cases, progress) for recommender in recommenders]
    with activity("measuring the latency"):
        times_ms = request_times_ms(recommenders, _requests(bundles[0], cases), recipe.compression.latency_requests)
    return [
        _variant(bundle, ranking, rankings[0], times, recipe.evaluation)
        for bundle, ranking, times in zip(bundles, rankings, times_ms, strict=True)
    ]


def _variant(bundle: Bundle, ranking: Ranking, full: Ranking, times_ms: NDArray[np.float64], config: EvaluationConfig) -> Variant:
    changed = change(ranking, full, config)
    p50, p99 = np.percentile(times_ms, [50, 99])
    return Variant(
        table=bundle.info.precision,
        encoder=bundle.info.encoder_precision,
        digest=bundle.digest,
        size_bytes=bundle.num_bytes,
        latency_p50_ms=round(float(p50), 4),
        latency_p99_ms=round(float(p99), 4),
        ndcg_at_10=mean_ndcg(ranking),
        ndcg_change=changed.value,
        low=changed.low,
        high=changed.high,
        same_top_10=overlap(ranking.top, full.top),
    )


def _requests(bundle: Bundle, cases: EvalCases) -> list[list[str]]:
    """Histories of the cases as item ids, as in requests."""
    return [[bundle.items.ids[row] for row in history] for history in cases.history] or [[]]


def _report(folder: Path, measured: list[Variant], num_users: int, recipe: Recipe, uncompressed: Bundle) -> None:
    margin, samples = recipe.compression.max_ndcg_drop, recipe.evaluation.bootstrap_samples
    rule = f"the smallest whose interval is above a drop of {margin:.1%}" if margin > 0 else "uncompressed, as max_ndcg_drop is 0"
    has_ranker, is_known = uncompressed.ranker is not None, knows_validation(uncompressed.info.training, recipe)
    claim = (
        f"NDCG@{K} over {num_users:,} users of the validation set (fp32: {measured[0].ndcg_at_10:.4f}), full ranking without seen items"
        f"{', by retrieval alone' if has_ranker else ''}{', on which the model was trained' if is_known else ''}; "
        f"95 % intervals of paired differences from {samples:,} bootstrap samples of users (seed {recipe.evaluation.seed}). "
        f"Chosen: {rule}. "
        f"Latency: {recipe.compression.latency_requests} single requests, interleaved, one thread."
    )
    conditions = {
        "k": K,
        "split": "validation",
        "users": num_users,
        "max_ndcg_drop": margin,
        "samples": samples,
        "seed": recipe.evaluation.seed,
    }
    text = json.dumps({**conditions, "variants": [asdict(variant) for variant in measured]}, indent=2)
    folder.joinpath(TABLE_JSON).write_text(text + "\n")
    folder.joinpath(TABLE_MARKDOWN).write_text(markdown(measured, claim))

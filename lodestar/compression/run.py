"""Make a trained bundle smaller: build the variants, weigh them, publish the smallest that is not worse."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lodestar import bundle, storage
from lodestar.bundle import Bundle
from lodestar.compression import variants
from lodestar.compression.choice import Variant, choose, markdown
from lodestar.compression.latency import request_times_ms
from lodestar.compression.quality import K, change, judge, mean_ndcg, overlap
from lodestar.config import EvaluationConfig, Recipe
from lodestar.data.splits import Cases, affordable
from lodestar.engine.recommender import Recommender
from lodestar.errors import UsageError
from lodestar.evaluation.metrics import Ranking
from lodestar.features import store
from lodestar.private import workspace
from lodestar.progress import Progress, log_event

TABLE_JSON, TABLE_MARKDOWN = "compression.json", "compression.md"


def compress(features: Path, trained: Path, target: Path, recipe: Recipe) -> list[Variant]:
    """Publish the chosen bundle with compression.json and compression.md beside it; what else lay beside the trained one goes along."""
    found, source = store.load(features), bundle.load(trained)
    if source.info.features != found.digest:
        raise UsageError(f"{trained} was trained on features {source.info.features}, {features} holds {found.digest}")
    cases = affordable(found.split(recipe.data).validation, len(found.items), recipe.evaluation, "validation")
    with workspace() as folder:
        bundles = variants.build(source, Path(folder))
        weighed = choose(_weigh(bundles, cases, recipe), recipe.compression.margin)
        for variant in weighed:
            log_event("variant", **asdict(variant))
        chosen = next(built for built, variant in zip(bundles, weighed, strict=True) if variant.is_chosen)
        with storage.publish_folder(target) as work:
            shutil.copytree(trained, work, dirs_exist_ok=True)
            shutil.copytree(chosen.root, work, dirs_exist_ok=True)
            _report(work, weighed, len(cases), recipe)
    return weighed


def _weigh(bundles: list[Bundle], cases: Cases, recipe: Recipe) -> list[Variant]:
    recommenders = [Recommender(built) for built in bundles]
    with Progress("compress", len(bundles) * len(cases)) as progress:
        rankings = [judge(recommender, cases, progress) for recommender in recommenders]
    times_ms = request_times_ms(recommenders, _requests(bundles[0], cases), recipe.compression.latency_requests)
    return [
        _variant(built, ranking, rankings[0], times, recipe.evaluation)
        for built, ranking, times in zip(bundles, rankings, times_ms, strict=True)
    ]


def _variant(built: Bundle, ranking: Ranking, full: Ranking, times_ms: NDArray[np.float64], config: EvaluationConfig) -> Variant:
    changed = change(ranking, full, config)
    p50, p99 = np.percentile(times_ms, [50, 99])
    return Variant(
        table=built.info.precision,
        encoder=built.info.encoder_precision,
        digest=built.digest,
        size_bytes=built.num_bytes,
        latency_p50_ms=round(float(p50), 4),
        latency_p99_ms=round(float(p99), 4),
        ndcg_at_10=mean_ndcg(ranking),
        ndcg_change=changed.value,
        low=changed.low,
        high=changed.high,
        same_top_10=overlap(ranking.top, full.top),
    )


def _requests(built: Bundle, cases: Cases) -> list[list[str]]:
    """Histories as ids, as a caller names them."""
    return [[built.items.ids[row] for row in history] for history in cases.history] or [[]]


def _report(folder: Path, weighed: list[Variant], num_users: int, recipe: Recipe) -> None:
    margin, samples = recipe.compression.margin, recipe.evaluation.bootstrap_samples
    rule = f"the smallest that surely loses at most {margin:.1%}" if margin > 0 else "the uncompressed, as the margin is 0"
    claim = (
        f"NDCG@{K} over {num_users:,} users of the validation part (fp32: {weighed[0].ndcg_at_10:.4f}), all items ranked, seen left out; "
        f"95 % intervals of paired differences from {samples:,} bootstrap samples of users (seed {recipe.evaluation.seed}). "
        f"Chosen: {rule}. "
        f"Latency: {recipe.compression.latency_requests} single requests, interleaved, one thread."
    )
    measured = {"k": K, "split": "validation", "users": num_users, "margin": margin, "samples": samples, "seed": recipe.evaluation.seed}
    text = json.dumps({**measured, "variants": [asdict(variant) for variant in weighed]}, indent=2)
    folder.joinpath(TABLE_JSON).write_text(text + "\n")
    folder.joinpath(TABLE_MARKDOWN).write_text(markdown(weighed, claim))

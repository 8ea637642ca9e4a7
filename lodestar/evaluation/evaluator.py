"""Evaluator: the bundle and every baseline rank the same test cases once; all metrics are computed from these rankings."""

from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from lodestar.bundle.bundle import Bundle
from lodestar.bundle.training_record import knows_validation
from lodestar.config import Recipe
from lodestar.data.split.splits import affordable
from lodestar.engine.recommender import Recommender
from lodestar.errors import DataError
from lodestar.evaluation import fitted_baselines, rating_errors
from lodestar.evaluation.gate import PRIMARY_METRIC, verdict
from lodestar.evaluation.intervals import intervals, paired_intervals
from lodestar.evaluation.metric_titles import BUNDLES, MODEL, UNCOMPRESSED
from lodestar.evaluation.metrics import Ranking, coverage, gini, item_frequencies, novelty, per_case, rank_by
from lodestar.evaluation.report.report_data import ReportData, cost, epochs, examples, tail
from lodestar.evaluation.rerank_cases import reordering
from lodestar.evaluation.results import HEADLINE_METRICS, BundleSummary, Evaluation, ModelMetrics, Protocol
from lodestar.evaluation.slices import Slice, groupings, slices
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.metrics.ndcg import CUTOFF
from lodestar.models.closed_form.baselines import BASELINES
from lodestar.progress import Progress
from lodestar.schema.arrays import Doubles

INTERACTIONS = "interactions"


class Evaluator:
    """Full-catalogue evaluation of a `bundle`, of the `uncompressed` bundle that it was made from and of every baseline.

    Baselines are fitted on the interactions that the model was. With `evaluation.force` a model that fails the gate is released all the
    same.

    Raises DataError E204 if there is no test case, EnvironmentFault E185 if a baseline needs more memory than is free.
    """

    def __init__(self, features: FeatureSet, bundle: Bundle, uncompressed: Bundle, recipe: Recipe) -> None:
        self.features, self.bundle, self.uncompressed, self.recipe = features, bundle, uncompressed, recipe
        whole, num_items = features.split(recipe.data), len(features.items)
        self.num_users = len(whole.test)
        few = (
            affordable(cases, num_items, recipe.evaluation, part)
            for part, cases in (("validation", whole.validation), ("test", whole.test))
        )
        self.split = replace(whole, validation=next(few), test=next(few))
        self.skipped = fitted_baselines.skipped_baselines(num_items)
        if len(self.split.test) == 0:
            raise DataError("E204", "no user has both a history and a test item", remedy="Provide more events, or raise data.test_share.")
        self.known = self.split.before_test
        self.knows_validation = knows_validation(bundle.info.training, recipe)
        self.fitted_on = self.split.before_test if self.knows_validation else self.split.train
        self.popularity = np.bincount(self.known.flat(), minlength=len(features.items))
        self.cutoffs = tuple(sorted({*recipe.evaluation.cutoffs, CUTOFF}))
        self.hyperparameters: dict[str, str] = {}
        self.rankings = self._rankings()

    def evaluation(self) -> Evaluation:
        """All metrics, slices and the gate's verdict; `best_baseline` is the baseline with the highest NDCG@10."""
        values = {name: self._values(ranking) for name, ranking in self.rankings.items()}
        quality = {name: float(metrics[PRIMARY_METRIC].mean()) for name, metrics in values.items()}
        baselines = {name: value for name, value in quality.items() if name not in BUNDLES}
        best_baseline = max(baselines, key=lambda name: baselines[name])
        config = self.recipe.evaluation
        found = verdict(quality[MODEL], baselines, self.skipped, quality.get(UNCOMPRESSED), itself=self.bundle.info.family)
        _, _, ahead = paired_intervals(values[MODEL], values[best_baseline], config.bootstrap_samples, config.seed)
        return Evaluation(
            protocol=self._protocol(),
            bundle=_bundle_summary(self.bundle),
            uncompressed=_bundle_summary(self.uncompressed),
            recipe=self.recipe,
            models=self._figures(values),
            skipped=self.skipped,
            best_baseline=best_baseline,
            differences=ahead,
            slices=self._slices(values[MODEL], values[best_baseline]),
            verdict=replace(found, is_forced=config.force and not found.passes),
            rating_errors=rating_errors.errors(self.bundle.ratings, self.features, self.recipe),
        )

    def report_data(self, best_baseline: str) -> ReportData:
        """The report's content besides the metrics: training curves, popularity bias and example lists."""
        relevant_N = np.bincount(np.concatenate(self.split.test.relevant), minlength=len(self.features.items))
        recommended = {name: self._recommended_counts(self.rankings[name], CUTOFF) for name in (MODEL, best_baseline)}
        return ReportData(
            epochs=epochs(self.bundle.root),
            tail={name: tail(counts_N, self.popularity) for name, counts_N in {INTERACTIONS: relevant_N, **recommended}.items()},
            examples=examples(self.split.test, self.rankings[MODEL], self.features.items, self.recipe.evaluation.seed),
        )

    def _rankings(self) -> dict[str, Ranking]:
        num_items, cases = len(self.features.items), self.split.test
        names = [name for name in BASELINES if name not in self.skipped]
        bundles = {MODEL: self.bundle} | ({} if self.uncompressed.digest == self.bundle.digest else {UNCOMPRESSED: self.uncompressed})
        total = len(cases) * (len(bundles) + len(names)) + fitted_baselines.num_tuning_cases(self.split, names)
        with Progress("evaluate", total) as progress:
            rankings = {name: self._rank_by_bundle(bundle, progress) for name, bundle in bundles.items()}
            for name in names:
                fitted = fitted_baselines.fit_baseline(name, self.split, self.fitted_on, num_items, progress, self.recipe.train.device)
                rankings[name] = fitted.rank(cases, num_items, self.cutoffs[-1], progress)
                self.hyperparameters[name] = fitted.hyperparameters
        return rankings

    def _rank_by_bundle(self, bundle: Bundle, progress: Progress) -> Ranking:
        recommender = Recommender(bundle)
        return rank_by(recommender, self.split.test, self.cutoffs[-1], progress, reordering(recommender, self.features, self.split.test))

    def _values(self, ranking: Ranking) -> dict[str, Doubles]:
        """Per-user values of every metric, [C] each; novelty treats an item without interactions like an item with one user."""
        num_users = np.count_nonzero(self.known.lengths)
        user_share_N = np.maximum(self.popularity, 1) / num_users
        return per_case(ranking, self.cutoffs) | {f"novelty_at_{k}": novelty(ranking.top[:, :k], user_share_N) for k in self.cutoffs}

    def _figures(self, values: dict[str, dict[str, Doubles]]) -> dict[str, ModelMetrics]:
        config = self.recipe.evaluation
        rows = {(model, name): values for model, metrics in values.items() for name, values in metrics.items()}
        found = intervals(rows, config.bootstrap_samples, config.seed)
        return {
            model: ModelMetrics(
                metrics={name: found[model, name] for name in metrics},
                catalogue=self._catalogue(self.rankings[model]),
                hyperparameters=self.hyperparameters.get(model, ""),
            )
            for model, metrics in values.items()
        }

    def _catalogue(self, ranking: Ranking) -> dict[str, float]:
        counts = {k: self._recommended_counts(ranking, k) for k in self.cutoffs}
        shares = {f"coverage_at_{k}": coverage(counts_N) for k, counts_N in counts.items()}
        return shares | {f"gini_at_{k}": gini(counts_N) for k, counts_N in counts.items()}

    def _recommended_counts(self, ranking: Ranking, k: int) -> NDArray[np.int64]:
        return item_frequencies(ranking.top[:, :k], len(self.features.items))

    def _slices(self, model: dict[str, Doubles], best_baseline: dict[str, Doubles]) -> list[Slice]:
        config = self.recipe.evaluation
        chosen = groupings(self.split.test, self.known, self.features.items.categories)
        mine, theirs = ({name: values[name] for name in HEADLINE_METRICS} for values in (model, best_baseline))
        return slices(chosen, mine, theirs, config.bootstrap_samples, config.seed)

    def _protocol(self) -> Protocol:
        config = self.recipe.evaluation
        return Protocol(
            split=self.recipe.data.split,
            users=len(self.split.test),
            eligible_users=self.num_users,
            left_out=self.split.test.left_out,
            items=len(self.features.items),
            interactions=len(self.features.interactions.item),
            cutoffs=self.cutoffs,
            samples=config.bootstrap_samples,
            seed=config.seed,
            refit=self.knows_validation,
            feedback=self.features.rules.to_json(),
            counts=asdict(self.features.counts),
        )


def _bundle_summary(bundle: Bundle) -> BundleSummary:
    info, training_cost = bundle.info, cost(bundle.root)
    return BundleSummary(
        digest=bundle.digest,
        features=info.features,
        family=info.family,
        table_precision=info.precision,
        encoder_precision=info.encoder_precision,
        max_length=info.max_length,
        ranked=bundle.ranker.candidates if bundle.ranker is not None else 0,
        num_bytes=bundle.num_bytes,
        threads=training_cost.get("threads", 0),
        workers=training_cost.get("workers", 0),
    )

"""One evaluation: the bundle and every baseline rank the same cases, once, and the rankings are looked at from several sides."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lodestar.bundle import Bundle
from lodestar.config import Recipe
from lodestar.data.splits import affordable
from lodestar.engine.recommender import Recommender
from lodestar.errors import DataError
from lodestar.evaluation import contestants, rated
from lodestar.evaluation.exhibits import Exhibits, cost, epochs, examples, tail
from lodestar.evaluation.guard import JUDGED_BY, verdict
from lodestar.evaluation.intervals import compared, intervals
from lodestar.evaluation.metrics import Ranking, Values, coverage, gini, novelty, per_case, rank_by, times_shown
from lodestar.evaluation.names import BUNDLES, MODEL, UNCOMPRESSED
from lodestar.evaluation.outcome import HEADLINES, Evaluation, Figures, Identity, Protocol
from lodestar.evaluation.reordering import reordering
from lodestar.evaluation.slices import Slice, groupings, slices
from lodestar.features.store import FeatureSet
from lodestar.models.baselines import BASELINES
from lodestar.progress import Progress

CUTOFF = 10  # what a person sees at once: the headline's, and always among the cutoffs
TAKEN = "taken"


class Judge:
    """Ranks the test's cases by the bundle that would go out (`source`), by the `full` one it was made from, and by every baseline.

    DataError E201 where there is no case to judge, EnvironmentFault E185 where a baseline's memory is not free.
    """

    def __init__(self, found: FeatureSet, source: Bundle, full: Bundle, recipe: Recipe) -> None:
        self.found, self.source, self.full, self.recipe = found, source, full, recipe
        whole, num_items = found.split(recipe.data), len(found.items)
        self.num_users = len(whole.test)
        few = (
            affordable(cases, num_items, recipe.evaluation, part)
            for part, cases in (("validation", whole.validation), ("test", whole.test))
        )
        self.split = replace(whole, validation=next(few), test=next(few))
        self.skipped = contestants.skipped(num_items)
        if len(self.split.test) == 0:
            raise DataError("E201", "no user has both a past and a test item", remedy="Bring more events, or a larger data.test_share.")
        self.known = self.split.before_test
        self.popularity = np.bincount(self.known.flat(), minlength=len(found.items))
        self.cutoffs = tuple(sorted({*recipe.evaluation.cutoffs, CUTOFF}))
        self.settings: dict[str, str] = {}
        self.rankings = self._rankings()

    def evaluation(self) -> Evaluation:
        """All figures; the best baseline by NDCG@10 is the rival."""
        values = {name: self._values(ranking) for name, ranking in self.rankings.items()}
        quality = {name: float(metrics[JUDGED_BY].mean()) for name, metrics in values.items()}
        baselines = {name: value for name, value in quality.items() if name not in BUNDLES}
        rival = max(baselines, key=lambda name: baselines[name])
        config = self.recipe.evaluation
        _, _, ahead = compared(values[MODEL], values[rival], config.bootstrap_samples, config.seed)
        return Evaluation(
            protocol=self._protocol(),
            bundle=_identity(self.source),
            uncompressed=_identity(self.full),
            recipe=self.recipe,
            models=self._figures(values),
            skipped=self.skipped,
            rival=rival,
            differences=ahead,
            slices=self._slices(values[MODEL], values[rival]),
            verdict=verdict(quality[MODEL], baselines, self.skipped, quality.get(UNCOMPRESSED)),
            rating_errors=rated.errors(self.source.ratings, self.found, self.recipe),
        )

    def exhibits(self, rival: str) -> Exhibits:
        """What the page shows beside the figures."""
        taken = np.bincount(np.concatenate(self.split.test.relevant), minlength=len(self.found.items))
        shown = {name: self._shown(self.rankings[name], CUTOFF) for name in (MODEL, rival)}
        return Exhibits(
            epochs=epochs(self.source.root),
            tail={name: tail(times, self.popularity) for name, times in {TAKEN: taken, **shown}.items()},
            examples=examples(self.split.test, self.rankings[MODEL], self.found.items, self.recipe.evaluation.seed),
        )

    def _rankings(self) -> dict[str, Ranking]:
        num_items, cases = len(self.found.items), self.split.test
        names = [name for name in BASELINES if name not in self.skipped]
        judged = {MODEL: self.source} | ({} if self.full.digest == self.source.digest else {UNCOMPRESSED: self.full})
        total = len(cases) * (len(judged) + len(names)) + contestants.work(self.split, names)
        with Progress("evaluate", total) as progress:
            rankings = {name: self._ranked(bundle, progress) for name, bundle in judged.items()}
            for name in names:
                fitted = contestants.fitted(name, self.split, num_items, progress, self.recipe.train.device)
                rankings[name] = fitted.rank(cases, num_items, self.cutoffs[-1], progress)
                self.settings[name] = fitted.setting
        return rankings

    def _ranked(self, bundle: Bundle, progress: Progress) -> Ranking:
        model = Recommender(bundle)
        return rank_by(model, self.split.test, self.cutoffs[-1], progress, reordering(model, self.found, self.split.test))

    def _values(self, ranking: Ranking) -> dict[str, Values]:
        """Per user, by metric; an item that nobody had taken tells as much as one that a single user had."""
        num_users = np.count_nonzero(self.known.lengths)
        share_taken = np.maximum(self.popularity, 1) / num_users
        return per_case(ranking, self.cutoffs) | {f"novelty_at_{k}": novelty(ranking.top[:, :k], share_taken) for k in self.cutoffs}

    def _figures(self, values: dict[str, dict[str, Values]]) -> dict[str, Figures]:
        config = self.recipe.evaluation
        rows = {(model, name): values for model, metrics in values.items() for name, values in metrics.items()}
        found = intervals(rows, config.bootstrap_samples, config.seed)
        return {
            model: Figures(
                metrics={name: found[model, name] for name in metrics},
                catalogue=self._catalogue(self.rankings[model]),
                setting=self.settings.get(model, ""),
            )
            for model, metrics in values.items()
        }

    def _catalogue(self, ranking: Ranking) -> dict[str, float]:
        shown = {k: self._shown(ranking, k) for k in self.cutoffs}
        shares = {f"coverage_at_{k}": coverage(times) for k, times in shown.items()}
        return shares | {f"gini_at_{k}": gini(times) for k, times in shown.items()}

    def _shown(self, ranking: Ranking, k: int) -> NDArray[np.int64]:
        return times_shown(ranking.top[:, :k], len(self.found.items))

    def _slices(self, model: dict[str, Values], rival: dict[str, Values]) -> list[Slice]:
        config = self.recipe.evaluation
        chosen = groupings(self.split.test, self.known, self.found.items.categories)
        mine, theirs = ({name: values[name] for name in HEADLINES} for values in (model, rival))
        return slices(chosen, mine, theirs, config.bootstrap_samples, config.seed)

    def _protocol(self) -> Protocol:
        config = self.recipe.evaluation
        return Protocol(
            split=self.recipe.data.split,
            users=len(self.split.test),
            drawn_from=self.num_users,
            left_out=self.split.test.left_out,
            items=len(self.found.items),
            interactions=len(self.found.interactions.item),
            cutoffs=self.cutoffs,
            samples=config.bootstrap_samples,
            seed=config.seed,
            refit=self.recipe.train.refit,
        )


def _identity(bundle: Bundle) -> Identity:
    info, took = bundle.info, cost(bundle.root)
    return Identity(
        digest=bundle.digest,
        features=info.features,
        family=info.family,
        table_precision=info.precision,
        encoder_precision=info.encoder_precision,
        max_length=info.max_length,
        ranked=bundle.ranker.candidates if bundle.ranker is not None else 0,
        num_bytes=bundle.num_bytes,
        threads=took.get("threads", 0),
        workers=took.get("workers", 0),
    )

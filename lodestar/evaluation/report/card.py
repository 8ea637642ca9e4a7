"""Model card (Markdown): intended use, data, protocol, metrics against baselines, weak slices, limits and identity.

Mitchell et al., "Model Cards for Model Reporting", FAT* 2019, arXiv:1810.03993.
"""

import html
import re
from dataclasses import asdict
from typing import Any

from lodestar.config import Recipe
from lodestar.errors import ConfigError
from lodestar.evaluation.gate import PRIMARY_METRIC
from lodestar.evaluation.intervals import Interval
from lodestar.evaluation.metric_titles import metric_title, title
from lodestar.evaluation.report import feedback_text
from lodestar.evaluation.results import Evaluation
from lodestar.evaluation.slices import Slice
from lodestar.process.safe_text import one_line
from lodestar.recipes import get_recipe

THREADLESS = ("popularity", "item_knn_jaccard", "item_knn_pearson")  # fitted without a matrix product, whose sums depend on the threads
METRICS = ("ndcg_at_10", "hr_at_10", "mrr_at_10", "map_at_10", "novelty_at_10")
SPLITS = {
    "leave_one_out": "leave-one-out; the last item of each user is the test, the one before it the validation",
    "time": "by time with two cutoffs; interactions after the second are the test, those between the two the validation",
}


def card(evaluation: Evaluation) -> str:
    """The model card in Markdown; the same input gives the same bytes."""
    sections = {
        "Intended use": _use(),
        "Data": _data(evaluation),
        "Protocol": _protocol(evaluation),
        "Metrics": _metrics(evaluation),
        "Weak slices": _weak_slices(evaluation),
        "Limits": _limits(evaluation),
        "Identity": _identity(evaluation),
    }
    verdict = evaluation.verdict
    opening = f"# Model card: {_plain(evaluation.recipe.name)}\n\n{verdict.markdown()}"
    return opening + "".join(f"\n## {heading}\n\n{text}\n" for heading, text in sections.items())


def _use() -> str:
    return (
        "Next-item recommendation: ranks the items of one catalogue for a user by the user's previous interactions; a cold-start user gets "
        "popular items. It predicts which item comes next, not whether an item is good, true or safe, "
        "and it must not be used for decisions about people."
    )


def _data(evaluation: Evaluation) -> str:
    found = evaluation.protocol
    return (
        f"{found.interactions:,} interactions with {found.items:,} items. Split: {SPLITS[found.split]}.\n\n"
        f"{feedback_text.rules(found.feedback)} {feedback_text.counts(found.counts)}"
    )


def _protocol(evaluation: Evaluation) -> str:
    found = evaluation.protocol
    fitted_on = "all interactions before the test" if found.refit else "the training set only, without the validation set"
    sampled = f", sampled from {found.eligible_users:,} (the intervals include this)" if found.eligible_users > found.users else ""
    return (
        "Full ranking of the items that the rules of feedback let pass, inactive ones among them, ties against the model, on the "
        f"{found.part} set: {found.users:,} users "
        f"({found.left_out:,} cold-start users without a history left out){sampled}. "
        "The exported bundle is evaluated through the serving code, and the uncompressed one on the same cases. "
        f"The model and the baselines are fitted on {fitted_on}. "
        f"Intervals: 95 %, percentile bootstrap over users, {found.samples:,} samples, seed {found.seed}."
    )


def _metrics(evaluation: Evaluation) -> str:
    rows = [["model", *map(metric_title, METRICS), f"Coverage@10 {evaluation.protocol.recipients}".rstrip()]]
    for name, figures in evaluation.models.items():
        rows.append(
            [title(name), *(_interval(figures.metrics[metric]) for metric in METRICS), f"{figures.catalogue['coverage_at_10']:.1%}"]
        )
    lead = evaluation.differences[PRIMARY_METRIC]
    lines = [
        _table(rows),
        f"Ahead of {title(evaluation.best_baseline)}, the best baseline, by {_interval(lead, '+.4f')} NDCG@10, paired by user.",
    ]
    if evaluation.rating_errors:
        errors = ", ".join(f"{title(name)} {_interval(error)}" for name, error in evaluation.rating_errors.items())
        lines.append(f"RMSE of the test ratings: {errors}.")
    lines += [f"{title(name)}: {figures.hyperparameters}." for name, figures in evaluation.models.items() if figures.hyperparameters]
    lines += [f"{title(name)}: {reason}." for name, reason in evaluation.skipped.items()]
    return "\n\n".join(lines)


def _weak_slices(evaluation: Evaluation) -> str:
    """Slices whose interval is below the overall NDCG@10, or whose point estimate is below the best baseline's."""
    overall = evaluation.model.metrics[PRIMARY_METRIC].value
    weak = [found for found in evaluation.slices if _is_weak(found, overall)]
    if not weak:
        num_slices, best_baseline = len(evaluation.slices), title(evaluation.best_baseline)
        return f"None of the {num_slices} slices is significantly below the mean, and none is behind {best_baseline}."
    rows = [["slice", "users", "NDCG@10", title(evaluation.best_baseline), "lead"]]
    for found in weak:
        sides = [
            _interval(found.model[PRIMARY_METRIC]),
            _interval(found.baseline[PRIMARY_METRIC]),
            _interval(found.lead[PRIMARY_METRIC], "+.4f"),
        ]
        rows.append([f"{found.by}: {_plain(found.label)}", f"{found.users:,}", *sides])
    behind = f"significantly below the mean ({overall:.4f}), or behind {title(evaluation.best_baseline)} by any amount"
    return f"Of {len(evaluation.slices)} slices, those whose NDCG@10 is {behind}:\n\n{_table(rows)}"


def _is_weak(segment: Slice, overall: float) -> bool:
    return segment.model[PRIMARY_METRIC].high < overall or segment.lead[PRIMARY_METRIC].value < 0


def _limits(evaluation: Evaluation) -> str:
    recipients = evaluation.protocol.recipients
    coverage, recipients = evaluation.model.catalogue["coverage_at_10"], f" {recipients}" if recipients else ""
    limits = [
        "Exposure bias: the metrics come from a log, and users could interact only with items they found; others count as wrong.",
        f"Popularity bias: top-10 lists{recipients} cover {coverage:.1%} of the catalogue; items without interactions rarely appear.",
        f"The model reads the latest {evaluation.bundle.max_length} items of a history at most.",
        "Multiple comparisons: slices are many and some are small, so a lead whose interval just excludes 0 may be noise.",
        "Drift: the metrics hold for the time of the log.",
        _reproducibility(evaluation),
    ]
    return "\n".join(f"- {limit}" for limit in limits)


def _reproducibility(evaluation: Evaluation) -> str:
    """The conditions, besides data, recipe and seed, under which training gives the same digest."""
    found = evaluation.bundle
    if found.family in THREADLESS and not found.ranked and not evaluation.recipe.rate.dim:
        return "The same data, recipe and seed give the same bundle with any number of threads."
    parallelism = f"OMP_NUM_THREADS={found.threads}, and {found.workers} workers" if found.threads else "OMP_NUM_THREADS, and workers"
    return (
        f"The same data, recipe and seed give the same bundle with the same number of threads ({parallelism}) on the same kind of "
        "processor: another number sums floats in another order."
    )


def _identity(evaluation: Evaluation) -> str:
    found = evaluation.bundle
    rows = [
        ["field", "value"],
        ["bundle", f"`{found.digest}`"],
        ["compressed from", f"`{evaluation.uncompressed.digest}`, {evaluation.uncompressed.num_bytes:,} bytes"],
        ["features", f"`{found.features}`"],
        ["recipe", _plain(evaluation.recipe.name)],
        ["overrides", _overrides(evaluation.recipe)],
        ["seed of training", str(evaluation.recipe.train.seed)],
        ["family", found.family],
        ["ranker", f"{found.ranked} candidates" if found.ranked else "none"],
        ["precision", f"item table {found.table_precision}, encoder {found.encoder_precision}"],
        ["size", f"{found.num_bytes:,} bytes"],
        ["threads", f"{found.threads} in each of {found.workers} workers" if found.threads else "not known"],
    ]
    return _table(rows)


def _overrides(recipe: Recipe) -> str:
    """The fields that differ from those of the recipe of this name; of the defaults, where there is none."""
    try:
        named = get_recipe(recipe.name)
    except ConfigError:
        named = Recipe(name=recipe.name)
    before: dict[str, Any] = asdict(named)
    changed = [
        f"{section}.{name} = {value}"
        for section, fields in asdict(recipe).items()
        if isinstance(fields, dict)
        for name, value in fields.items()
        if value != before[section][name]
    ]
    return _plain(", ".join(changed)) or "none"


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _interval(interval: Interval, form: str = ".4f") -> str:
    return f"{interval.value:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def _plain(text: str) -> str:
    """Text of the data on one line, with Markdown and HTML escaped."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|~-])", r"\\\1", html.escape(one_line(" ".join(text.split()))))

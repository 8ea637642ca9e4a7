"""The model card: what the bundle is for, how good it is beside simple counts, and where it is weak.

Mitchell et al., "Model Cards for Model Reporting", FAT* 2019, arXiv:1810.03993.
"""

import html
import re

from lodestar.evaluation.guard import JUDGED_BY
from lodestar.evaluation.intervals import Interval
from lodestar.evaluation.names import metric_title, title
from lodestar.evaluation.outcome import Evaluation
from lodestar.evaluation.slices import Slice
from lodestar.safe_text import line

THREADLESS = ("popularity", "jaccard", "pearson")  # counted without a product of matrices
SHOWN = ("ndcg_at_10", "hr_at_10", "mrr_at_10", "map_at_10", "novelty_at_10")
SPLITS = {
    "leave_one_out": "the last item of each user is the test, the one before it the validation",
    "time": "the log is cut at two moments; what comes after the second is the test, what lies between is the validation",
}


def card(evaluation: Evaluation) -> str:
    """Markdown; the same input gives the same bytes."""
    sections = {
        "Intended use": _use(),
        "Data": _data(evaluation),
        "Protocol": _protocol(evaluation),
        "Figures": _figures(evaluation),
        "Where it is weak": _weak(evaluation),
        "Limits": _limits(evaluation),
        "Identity": _identity(evaluation),
    }
    verdict = evaluation.verdict
    opening = f"# Model card: {_plain(evaluation.recipe.name)}\n\n{verdict.markdown()}"
    return opening + "".join(f"\n## {heading}\n\n{text}\n" for heading, text in sections.items())


def _use() -> str:
    return (
        "Ranks the items of one catalogue for a person by the order in which that person took items before; a person without a history "
        "is shown what is popular. It answers which item comes next, not whether an item is good, true or safe, "
        "and it must not decide about people."
    )


def _data(evaluation: Evaluation) -> str:
    found = evaluation.protocol
    return (
        f"{found.interactions:,} interactions with {found.items:,} items; a repeated interaction with an item counts once, the first. "
        f"Split: {SPLITS[found.split]}."
    )


def _protocol(evaluation: Evaluation) -> str:
    found = evaluation.protocol
    refit = (
        "The model was refitted on the same."
        if found.refit
        else "The model learnt from the training part only, without those of validation."
    )
    drawn = f", drawn by chance of {found.drawn_from:,}: intervals hold what that leaves open" if found.drawn_from > found.users else ""
    return (
        f"Full ranking of all items but the user's history, ties against the model, on the {found.part} part: {found.users:,} users "
        f"({found.left_out:,} left out because nothing was known of them before){drawn}. "
        "The bundle that would go out is judged through the code that serves it, with the one it was compressed from beside it. "
        f"Baselines are counted on everything before the test. {refit} "
        f"Intervals: 95 %, percentile bootstrap over users, {found.samples:,} samples, seed {found.seed}."
    )


def _figures(evaluation: Evaluation) -> str:
    rows = [["model", *map(metric_title, SHOWN), f"Coverage@10 {evaluation.protocol.shown_to}".rstrip()]]
    for name, figures in evaluation.models.items():
        rows.append([title(name), *(_interval(figures.metrics[metric]) for metric in SHOWN), f"{figures.catalogue['coverage_at_10']:.1%}"])
    lead = evaluation.differences[JUDGED_BY]
    lines = [_table(rows), f"Ahead of {title(evaluation.rival)}, the best baseline, by {_interval(lead, '+.4f')} NDCG@10, user by user."]
    if evaluation.rating_errors:
        told = ", ".join(f"{title(name)} {_interval(error)}" for name, error in evaluation.rating_errors.items())
        lines.append(f"RMSE of the ratings of the test: {told}.")
    lines += [f"{title(name)}: {figures.setting}." for name, figures in evaluation.models.items() if figures.setting]
    lines += [f"{title(name)}: {reason}." for name, reason in evaluation.skipped.items()]
    return "\n\n".join(lines)


def _weak(evaluation: Evaluation) -> str:
    """Slices that are surely below the whole, or no better than the best baseline by the point estimate."""
    overall = evaluation.model.metrics[JUDGED_BY].value
    weak = [found for found in evaluation.slices if _is_weak(found, overall)]
    if not weak:
        return f"None of the {len(evaluation.slices)} slices is surely below the whole or behind {title(evaluation.rival)}."
    rows = [["slice", "users", "NDCG@10", title(evaluation.rival), "lead"]]
    for found in weak:
        sides = [_interval(found.model[JUDGED_BY]), _interval(found.baseline[JUDGED_BY]), _interval(found.ahead[JUDGED_BY], "+.4f")]
        rows.append([f"{found.by}: {_plain(found.label)}", f"{found.users:,}", *sides])
    behind = f"surely below the whole ({overall:.4f}) or behind {title(evaluation.rival)}"
    return f"Of {len(evaluation.slices)} slices, those whose NDCG@10 is {behind}:\n\n{_table(rows)}"


def _is_weak(found: Slice, overall: float) -> bool:
    return found.model[JUDGED_BY].high < overall or found.ahead[JUDGED_BY].value < 0


def _limits(evaluation: Evaluation) -> str:
    drawn = evaluation.protocol.shown_to
    tail, shown_to = evaluation.model.catalogue["coverage_at_10"], f" {drawn}" if drawn else ""
    limits = [
        "Figures come from a log: users could take only what they had found, so an item that was never shown counts as wrong.",
        f"The first ten places{shown_to} reach {tail:.1%} of the catalogue; an item that nobody has taken is hardly ever shown.",
        f"At most the latest {evaluation.bundle.max_length} items of a history are looked at.",
        "Slices are many and some are small: a lead whose interval just misses nought may be chance.",
        "Tastes change: figures hold for the time of the log.",
        _repeated(evaluation),
    ]
    return "\n".join(f"- {limit}" for limit in limits)


def _repeated(evaluation: Evaluation) -> str:
    """What beside data, recipe and seed the bundle's digest depends on."""
    found = evaluation.bundle
    if found.family in THREADLESS and not found.ranked:
        return "The same data, recipe and seed give the same bundle with any number of threads."
    with_as_many = f"OMP_NUM_THREADS={found.threads}, and {found.workers} workers" if found.threads else "OMP_NUM_THREADS, and workers"
    return (
        f"The same data, recipe and seed give the same bundle with as many threads ({with_as_many}) on the same kind of processor: "
        "another number adds in another order."
    )


def _identity(evaluation: Evaluation) -> str:
    found = evaluation.bundle
    rows = [
        ["what", "value"],
        ["bundle", f"`{found.digest}`"],
        ["compressed from", f"`{evaluation.uncompressed.digest}`, {evaluation.uncompressed.num_bytes:,} bytes"],
        ["features", f"`{found.features}`"],
        ["recipe", _plain(evaluation.recipe.name)],
        ["family", found.family],
        ["ranker", f"of the best {found.ranked}" if found.ranked else "none"],
        ["precision", f"item table {found.table_precision}, encoder {found.encoder_precision}"],
        ["size", f"{found.num_bytes:,} bytes"],
        ["threads", f"{found.threads} in each of {found.workers} workers" if found.threads else "not known"],
    ]
    return _table(rows)


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _interval(interval: Interval, form: str = ".4f") -> str:
    return f"{interval.value:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def _plain(text: str) -> str:
    """Text of the data as nothing but text: no markup of Markdown's or HTML's, no line of its own."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|~-])", r"\\\1", html.escape(line(" ".join(text.split()))))

"""The page and the card: whole without a network, safe with any text, readable by everyone, and about nobody."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lodestar.bundle.bundle import EPOCHS_LOG
from lodestar.config import Recipe, TrainConfig, override
from lodestar.evaluation.gate import verdict
from lodestar.evaluation.intervals import Interval
from lodestar.evaluation.report.card import card
from lodestar.evaluation.report.plots import Axis, Line, bar, lines
from lodestar.evaluation.report.report import page
from lodestar.evaluation.report.report_data import Example, ListedItem, ReportData, epochs
from lodestar.evaluation.results import BundleSummary, Evaluation, ModelMetrics, Protocol
from lodestar.evaluation.slices import Slice
from lodestar.recipes import get_recipe

NASTY = "<script>alert('x')</script> | **bold** [link](javascript:x)"
VOID = {"meta", "br"}


def interval(value: float, width: float = 0.01) -> Interval:
    return Interval(value=value, low=value - width, high=value + width)


def figures(value: float) -> ModelMetrics:
    names = [f"{kind}_at_10" for kind in ("hr", "recall", "ndcg", "mrr", "map", "novelty")]
    return ModelMetrics(metrics=dict.fromkeys(names, interval(value)), catalogue={"coverage_at_10": 0.4, "gini_at_10": 0.8})


def identity(digest: str, precision: str, num_bytes: int) -> BundleSummary:
    shape = {"max_length": 50, "ranked": 100}
    return BundleSummary(
        digest=digest, features="f1", family="sasrec", table_precision=precision, encoder_precision="fp32", num_bytes=num_bytes, **shape
    )


def evaluation(model: float = 0.2, baseline: float = 0.1) -> Evaluation:
    weak = Slice(
        by="category of the next item",
        label=NASTY,
        users=7,
        model={"ndcg_at_10": interval(0.02)},
        baseline={"ndcg_at_10": interval(0.05)},
        lead={"ndcg_at_10": interval(-0.03)},
    )
    lead = {name: interval(model - baseline) for name in figures(0).metrics}
    return Evaluation(
        protocol=Protocol(
            eligible_users=1234,
            split="time",
            users=1234,
            left_out=5,
            items=99,
            interactions=4321,
            cutoffs=(10,),
            samples=50,
            seed=3,
            refit=False,
        ),
        bundle=identity("d1", "int8", 2048),
        uncompressed=identity("d0", "fp32", 8192),
        recipe=Recipe(name="tiny", train=TrainConfig()),
        models={"model": figures(model), "uncompressed": figures(model), "popularity": figures(baseline)},
        skipped={"ease": "left out: too large"},
        best_baseline="popularity",
        differences=lead,
        slices=[weak],
        verdict=verdict(model, {"popularity": baseline}),
        rating_errors={"model": interval(0.9), "biases": interval(1.0)},
    )


def report_data(**changes: object) -> ReportData:
    curve = np.linspace(0, 1, 101)
    example = Example(history=[NASTY], earlier=3, recommended=[ListedItem(title=NASTY, is_hit=True)], held_out=["next"], rank=1)
    log = [{"stage": "search", "epoch": 1, "loss": 3.0}, {"stage": "search", "epoch": 2, "loss": 2.5, "ndcg_at_10": 0.1}]
    found = ReportData(epochs=log, tail={"interactions": curve, "model": curve, "popularity": curve}, examples=[example])
    return replace(found, **changes)  # type: ignore[arg-type]


class Reader(HTMLParser):
    """Collects tags and attributes, and insists that what opens closes in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_beside_it() -> None:
    text = page(evaluation(), report_data())
    found = Reader(text)
    assert found.open == []
    assert "http" not in text.replace("http-equiv", "")
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in found.tags}
    assert not any({"src", "href"} & set(attributes) for _, attributes in found.tags)


def test_text_of_the_data_stays_text() -> None:
    text = page(evaluation(), report_data())
    assert "<script>" not in text
    assert text.count("&lt;script&gt;") == 3


def test_drawings_are_described_or_hidden_from_those_who_cannot_see_them() -> None:
    drawings = [attributes for tag, attributes in Reader(page(evaluation(), report_data())).tags if tag == "svg"]
    assert drawings
    assert all(attributes.get("aria-hidden") == "true" or attributes.get("aria-label") for attributes in drawings)


def test_the_page_follows_light_and_dark() -> None:
    assert "prefers-color-scheme: dark" in page(evaluation(), report_data())


@pytest.mark.parametrize(("model", "said"), [(0.2, "Gate passed"), (0.05, "Gate failed")])
def test_the_verdict_is_the_first_thing_said(model: float, said: str) -> None:
    found = evaluation(model=model)
    assert f"**{said}.**" in card(found).splitlines()[2]
    text = page(found, report_data())
    assert said in text
    assert text.index(said) < text.index("Comparison with baselines")


@pytest.mark.parametrize(
    ("refit", "said"), [(False, "the training set only, without the validation set."), (True, "all interactions before the test.")]
)
def test_page_and_card_say_what_model_and_baselines_were_fitted_on(refit: bool, said: str) -> None:
    found = replace(evaluation(), protocol=replace(evaluation().protocol, refit=refit))
    for text in (page(found, report_data()), card(found)):
        assert f"The model and the baselines are fitted on {said}" in text


def test_the_card_names_what_differs_from_the_recipe_and_the_seed() -> None:
    found = replace(evaluation(), recipe=override(get_recipe("tiny"), '{"train": {"seed": 7, "epochs": 3}, "data": {"split": "time"}}'))
    said = re.sub(r"\\(.)", r"\1", card(found))
    assert "| overrides | data.split = time, train.epochs = 3, train.seed = 7 |" in said
    assert "| seed of training | 7 |" in said
    assert "| overrides | none |" in card(replace(found, recipe=get_recipe("sasrec-m")))


def test_a_ranker_is_named_where_there_is_one() -> None:
    found = evaluation()
    alone = replace(found, bundle=replace(found.bundle, ranked=0))
    assert ("with a ranker of 100 candidates" in page(found, report_data()), "ranker" in page(alone, report_data())) == (True, False)
    assert ("| ranker | 100 candidates |" in card(found), "candidates" in card(alone)) == (True, False)


def test_what_was_left_out_is_said() -> None:
    for text in (page(evaluation(), report_data()), card(evaluation())):
        assert "EASE: left out: too large." in text


def test_a_bundle_without_a_log_has_a_page_all_the_same(tmp_path: Path) -> None:
    assert "no training log" in page(evaluation(), report_data(epochs=epochs(tmp_path)))


def test_a_log_is_read_line_by_line(tmp_path: Path) -> None:
    lines = [{"stage": "search", "epoch": 1, "loss": 2.5}, {"stage": "search sasrec", "part": "sasrec", "epoch": 2}]
    tmp_path.joinpath(EPOCHS_LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert epochs(tmp_path) == lines


@pytest.mark.parametrize(
    "damage",
    [
        b'{"stage": "search", "epoch": 2, "lo',
        b'{"epoch": 2}',
        b'{"stage": "search"}',
        b'{"stage": ["search"], "epoch": 2}',
        b'{"stage": "search", "epoch": "2"}',
        b'{"stage": "search", "epoch": 2, "loss": null}',
        b'{"stage": "search", "epoch": 2, "loss": NaN}',
        b'{"stage": "search", "epoch": 2, "loss": 1e999}',
        b'{"stage": "search", "epoch": ' + b"9" * 400 + b"}",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_damaged_line_of_the_log_is_left_out(damage: bytes, tmp_path: Path) -> None:
    kept = {"stage": "search", "epoch": 1, "loss": 2.5, "ndcg_at_10": 0.5}
    tmp_path.joinpath(EPOCHS_LOG).write_bytes(json.dumps(kept).encode() + b"\n" + damage + b"\n")
    assert epochs(tmp_path) == [kept]
    assert "Training loss by epoch" in page(evaluation(), report_data(epochs=epochs(tmp_path)))


def test_figures_are_shown_with_their_intervals() -> None:
    assert "0.2000 (0.1900–0.2100)" in page(evaluation(), report_data())
    assert "| this model | 0.2000 (0.1900 to 0.2100) |" in card(evaluation())


def test_the_card_names_weak_slices_as_plain_text() -> None:
    text = card(evaluation())
    rows = [row for row in text.splitlines() if "category of the next item:" in row]
    assert len(rows) == 1
    assert "<script>" not in text
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 6
    assert r"\*\*bold\*\* \[link\]\(javascript:x\)" in rows[0]


def test_a_card_without_weak_slices_says_how_many_were_looked_at() -> None:
    assert "None of the 0 slices" in card(replace(evaluation(), slices=[]))


def test_the_figures_survive_their_file() -> None:
    found = json.loads(evaluation().to_json())
    assert found["models"]["popularity"]["metrics"]["ndcg_at_10"]["value"] == 0.1
    assert found["verdict"]["passes"] is True


def test_a_bar_reaches_as_far_as_its_share() -> None:
    drawn = bar(Interval(value=0.5, low=0.25, high=0.75), 1.0, "model")
    assert '<rect width="50.00%"' in drawn
    assert 'x1="25.00%" x2="75.00%"' in drawn


def test_bars_of_nothing_are_empty() -> None:
    assert '<rect width="0.00%"' in bar(interval(0, 0), 0.0, "model")


@pytest.mark.parametrize("values", [[0.0], [0.5, 0.5], [0.1, 0.13], [-3.0, 40.0], [1e-6, 2e-6]])
def test_a_line_stays_within_its_frame(values: list[float]) -> None:
    drawn = lines([Line(style="model", x=np.arange(len(values), dtype=float), y=np.array(values))], Axis(label="x"), Axis(label="y"), "d")
    points = [float(value) for pair in re.findall(r'points="([^"]*)"', drawn)[0].split() for value in pair.split(",")]
    assert all(0 <= across <= 480 for across in points[::2])
    assert all(0 <= down <= 300 for down in points[1::2])
    labels = re.findall(r'text-anchor="end">([^<]*)<', drawn)
    assert len(labels) == len(set(labels))

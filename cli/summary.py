"""Summary of a run: report files, the table of metrics, training cost, and the commands to serve the bundle."""

import json
import os
import re
import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.release.local_release import CURRENT, current_bundle
from lodestar.bundle.bundle import COST
from lodestar.errors import GateFailed
from lodestar.evaluation.gate import PRIMARY_METRIC
from lodestar.evaluation.metric_titles import BUNDLES, MODEL, metric_title
from lodestar.evaluation.metric_titles import title as title_of
from lodestar.io import storage
from lodestar.process.safe_text import command, one_line, shorten
from lodestar.progress import UNWRAPPED

REPORT, CARD, INGESTED = "report.html", "model_card.md", "ingest.md"
BUNDLE, ONLINE_STORE = "current/bundle", "current/online/online.db"
METRICS = ("hr_at_10", "ndcg_at_10", "mrr_at_10", "coverage_at_10")
LABEL_WIDTH = 12
SHOWN_FINDINGS, SHOWN_CHARACTERS = 8, 240

Result = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """A layout of the table of metrics: the form of an interval after its value, the metrics that have one, and the line that says so."""

    form: str
    intervals: Collection[str]
    caption: str


LAYOUTS = (  # the widest first
    Layout(" [{}]", METRICS, "95 % intervals in brackets."),
    Layout("\n{}", METRICS, "95 % intervals below the values."),
    Layout("\n{}", (PRIMARY_METRIC,), "95 % intervals below NDCG@10."),
    Layout("", (), ""),
)


def collect(outputs: dict[str, Path], output: Path) -> Result:
    """Copy report, model card and ingest report to the output folder; returns the result as printed with --json."""
    evaluation = json.loads((outputs["evaluation"] / "evaluation.json").read_text())
    for name, source in ((REPORT, outputs["report"]), (CARD, outputs["card"]), (INGESTED, outputs["ingested"])):
        storage.put(source.read_bytes(), str(output / name))
    verdict, online = {"is_forced": False, **evaluation["verdict"]}, output / ONLINE_STORE
    is_released = verdict["passes"] or verdict["is_forced"]
    return {
        "verdict": verdict,
        "metrics": {name: _metrics(model) for name, model in evaluation["models"].items()},
        "protocol": evaluation["protocol"],
        "digest": evaluation["bundle"]["digest"],
        "report": str(output / REPORT),
        "model_card": str(output / CARD),
        "cost": json.loads((outputs["bundle"] / COST).read_text()),
        "bundle": str(output / BUNDLE) if is_released else None,
        "online_store": str(online) if is_released and online.is_file() else None,
        "found_in_data": found_in_data(outputs["ingested"].read_text()),
        "still_current": None if is_released else current_bundle(output) or None,
        "example_user": _example_user(outputs["features"]),
    }


def render(result: Result) -> str:
    """The result as text: fitted to the terminal of standard output, which is never wrapped and has no colours elsewhere.

    Where standard output is no terminal, its last line is for a script: the path of the bundle, or of the report if none was released.
    """
    is_terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if is_terminal else UNWRAPPED)
    with console.capture() as capture:
        layout = _fitting_layout(result, console)
        console.print(_title(result), style="italic")
        if layout.caption:
            console.print(layout.caption, style="italic")
        console.print(_table(result, layout))
        console.print(_facts(result))
        for line in _data_lines(result):
            console.print(line, markup=False, soft_wrap=True)
        for label, key in (("Report", "report"), ("Model card", "model_card"), ("Bundle", "bundle")):
            if result[key]:
                console.print(f"{label:{LABEL_WIDTH}}{one_line(result[key])}", markup=False, soft_wrap=True)
        if result["bundle"]:
            console.print("\nServe it and request ten recommendations:", style="bold")
            for words in _next_commands(result):
                console.print(f"  {command(words)}", soft_wrap=True, markup=False)
    lines = "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n")
    return f"\n{lines}" if is_terminal else f"{lines}\n{one_line(result['bundle'] or result['report'])}"


def found_in_data(report: str) -> list[str]:
    """What an ingest report in Markdown says that was dropped or found, a line each."""
    sections = re.findall(r"^## (?:Dropped|Findings)\n\n((?:- .*\n)+)", report, flags=re.MULTILINE)
    return [re.sub(r"\\([\\`\[\]<|])", r"\1", line.removeprefix("- ")) for section in sections for line in section.splitlines()]


def _data_lines(result: Result) -> list[str]:
    """The first lines of what was dropped or found in the data, and how many more the ingest report has."""
    found = result.get("found_in_data", [])
    lines = [shorten(one_line(line), SHOWN_CHARACTERS) for line in found[:SHOWN_FINDINGS]]
    if len(found) > len(lines):
        lines.append(f"{len(found) - len(lines):,} more in {INGESTED}")
    return [f"{'' if number else 'Data':{LABEL_WIDTH}}{line}" for number, line in enumerate(lines)]


def _next_commands(result: Result) -> list[list[str]]:
    """Commands to serve the bundle and to request recommendations, as words."""
    store = ["--online-store", f"sqlite:{result['online_store']}"] if result["online_store"] else []
    serve = ["serve", "--bundle", result["bundle"], *store]
    query = urlencode({"user": result["example_user"], "k": 10})
    return [[_program(), *serve], ["curl", f"http://127.0.0.1:8080/v1/recommend?{query}"]]


def gate_failure(result: Result) -> GateFailed | None:
    """The error of a model that failed the quality gate; None if it passed, or was released by force."""
    verdict, current = result["verdict"], result["still_current"]
    if verdict["passes"] or verdict["is_forced"]:
        return None
    folder = Path(result["report"]).parent / CURRENT
    previous = f" {folder} still has the previous release, bundle {current}." if current else ""
    return GateFailed(f"the gate failed: {verdict['reason']} Nothing was released.{previous}")


def _cost(cost: dict[str, Any]) -> str:
    """Training cost on one line: wall time, CPU time, throughput, peak memory and GPU use."""
    speed = f", {cost['samples_per_s']:,.0f} samples/s" if cost["samples"] else ""
    gpu = f", {cost['gpu_minutes']:.1f} GPU minutes ({cost['gpu_peak_memory_mib']:,.0f} MiB GPU memory)" if cost["gpu_minutes"] else ""
    return f"{cost['seconds']:,.0f} s, {cost['cpu_seconds']:,.0f} s CPU{speed}, {cost['peak_memory_mib']:,.0f} MiB peak memory{gpu}"


def _metrics(model: dict[str, Any]) -> dict[str, Any]:
    """Metrics with intervals, and catalogue metrics (coverage, Gini) without."""
    figures: dict[str, Any] = model["metrics"]
    return figures | {name: {"value": value} for name, value in model["catalogue"].items()}


def _title(result: Result) -> str:
    protocol = result["protocol"]
    return f"Full ranking of {protocol['items']:,} items for {protocol['users']:,} users of the {protocol['part']} set, without seen items."


def _facts(result: Result) -> Table:
    """Training cost and the warning, beside their labels."""
    facts = Table.grid(padding=0)
    facts.add_column(width=LABEL_WIDTH)
    facts.add_column(overflow="fold")
    facts.add_row("Training", _cost(result["cost"]))
    if result["cost"]["warning"]:
        facts.add_row("Warning", Text(one_line(result["cost"]["warning"])), style="yellow")
    if result["verdict"]["is_forced"]:
        facts.add_row("Forced", Text(f"released although the gate failed: {one_line(result['verdict']['reason'])}"), style="yellow")
    return facts


def _fitting_layout(result: Result, console: Console) -> Layout:
    """The layout with as many intervals as the width allows, the last one if none does."""
    wide = console.options.update(width=UNWRAPPED)
    fitting = (layout for layout in LAYOUTS if console.measure(_table(result, layout), options=wide).maximum <= console.width)
    return next(fitting, LAYOUTS[-1])


def _table(result: Result, layout: Layout) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("")
    for name in METRICS:
        table.add_column(metric_title(name), justify="right", no_wrap=True)
    for model, figures in sorted(result["metrics"].items(), key=_row_order):
        cells = (_cell(figures[name], layout if name in layout.intervals else LAYOUTS[-1]) for name in METRICS)
        table.add_row(title_of(model), *cells, style="bold" if model == MODEL else None)
    return table


def _row_order(entry: tuple[str, dict[str, Any]]) -> tuple[int, float]:
    """Sort key of the table: the model, the uncompressed model, then the baselines by descending NDCG@10."""
    name, figures = entry
    group = BUNDLES.index(name) if name in BUNDLES else len(BUNDLES)
    return group, -figures[PRIMARY_METRIC]["value"]


def _cell(metric: dict[str, float], layout: Layout) -> str:
    """The value, and the interval beside or below it."""
    interval = f"{metric['low']:.4f}–{metric['high']:.4f}" if layout.intervals and "low" in metric else ""
    return f"{metric['value']:.4f}{layout.form.format(interval) if interval else ''}"


def _program() -> str:
    """The command as the user can type it: `lodestar`, or its path if it is not on PATH."""
    called = Path(sys.argv[0])
    return called.name if shutil.which(called.name) else os.path.relpath(called)


def _example_user(features: Path) -> str:
    from lodestar.features.batch.feature_set import load

    return load(features).interactions.users[0]

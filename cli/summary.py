"""Summary of a run: report files, the table of metrics, training cost, and the commands to serve the bundle."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rich.console import Console
from rich.table import Table

from components.release.local_release import CURRENT, current_bundle
from lodestar.bundle.bundle import COST
from lodestar.errors import GateFailed
from lodestar.evaluation.gate import PRIMARY_METRIC
from lodestar.evaluation.metric_titles import BUNDLES, MODEL, metric_title
from lodestar.evaluation.metric_titles import title as title_of
from lodestar.io import storage
from lodestar.process.safe_text import command, one_line

REPORT, CARD, INGESTED = "report.html", "model_card.md", "ingest.md"
BUNDLE, ONLINE_STORE = "current/bundle", "current/online/online.db"
METRICS = ("hr_at_10", "ndcg_at_10", "mrr_at_10", "coverage_at_10")
WIDTH = 110

Result = dict[str, Any]


def collect(outputs: dict[str, Path], output: Path) -> Result:
    """Copy report, model card and ingest report to the output folder; returns the result as printed with --json."""
    evaluation = json.loads((outputs["evaluation"] / "evaluation.json").read_text())
    for name, source in ((REPORT, outputs["report"]), (CARD, outputs["card"]), (INGESTED, outputs["ingested"])):
        storage.put(source.read_bytes(), str(output / name))
    passes, online = evaluation["verdict"]["passes"], output / ONLINE_STORE
    return {
        "verdict": evaluation["verdict"],
        "metrics": {name: _metrics(model) for name, model in evaluation["models"].items()},
        "protocol": evaluation["protocol"],
        "digest": evaluation["bundle"]["digest"],
        "report": str(output / REPORT),
        "model_card": str(output / CARD),
        "cost": json.loads((outputs["bundle"] / COST).read_text()),
        "bundle": str(output / BUNDLE) if passes else None,
        "online_store": str(online) if passes and online.is_file() else None,
        "still_current": None if passes else current_bundle(output) or None,
        "example_user": _example_user(outputs["features"]),
    }


def render(result: Result) -> str:
    """The result as text for a terminal."""
    console = Console(width=WIDTH, highlight=False)
    with console.capture() as capture:
        console.print(_table(result))
        console.print(f"Training    {_cost(result['cost'])}")
        if result["cost"]["warning"]:
            console.print(f"Warning     {one_line(result['cost']['warning'])}", style="yellow", markup=False)
        console.print(f"Report      {one_line(result['report'])}", markup=False, soft_wrap=True)
        console.print(f"Model card  {one_line(result['model_card'])}", markup=False, soft_wrap=True)
        if result["bundle"]:
            console.print(f"Bundle      {one_line(result['bundle'])}\n", markup=False, soft_wrap=True)
            console.print("Serve it and request ten recommendations:", style="bold")
            for words in _next_commands(result):
                console.print(f"  {command(words)}", soft_wrap=True, markup=False)
    return capture.get().rstrip()


def _next_commands(result: Result) -> list[list[str]]:
    """Commands to serve the bundle and to request recommendations, as words."""
    features = ["--features", f"sqlite:{result['online_store']}"] if result["online_store"] else []
    serve = ["serve", "--bundle", result["bundle"], *features]
    query = urlencode({"user": result["example_user"], "k": 10})
    return [[_program(), *serve], ["curl", f"http://127.0.0.1:8080/v1/recommend?{query}"]]


def gate_failure(result: Result) -> GateFailed | None:
    """The error of a model that failed the quality gate; None if it passed."""
    verdict, current = result["verdict"], result["still_current"]
    if verdict["passes"]:
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


def _table(result: Result) -> Table:
    protocol = result["protocol"]
    title = (
        f"Full ranking of {protocol['items']:,} items for {protocol['users']:,} users of the {protocol['part']} set, "
        "seen items excluded; 95 % intervals"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in METRICS:
        table.add_column(metric_title(name), justify="right")
    for model, figures in sorted(result["metrics"].items(), key=_row_order):
        table.add_row(title_of(model), *(_cell(figures[name]) for name in METRICS), style="bold" if model == MODEL else None)
    return table


def _row_order(entry: tuple[str, dict[str, Any]]) -> tuple[int, float]:
    """Sort key of the table: the model, the uncompressed model, then the baselines by descending NDCG@10."""
    name, figures = entry
    group = BUNDLES.index(name) if name in BUNDLES else len(BUNDLES)
    return group, -figures[PRIMARY_METRIC]["value"]


def _cell(metric: dict[str, float]) -> str:
    interval = f" [{metric['low']:.4f}–{metric['high']:.4f}]" if "low" in metric else ""
    return f"{metric['value']:.4f}{interval}"


def _program() -> str:
    """The command as the user can type it: `lodestar`, or its path if it is not on PATH."""
    called = Path(sys.argv[0])
    return called.name if shutil.which(called.name) else os.path.relpath(called)


def _example_user(features: Path) -> str:
    from lodestar.features.batch.feature_set import load

    return load(features).interactions.users[0]

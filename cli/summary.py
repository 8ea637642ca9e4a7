"""What a run ends with: its files in one place, the table of metrics, and what to type next."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rich.console import Console
from rich.table import Table

from components.local_release import CURRENT, current_bundle
from lodestar import storage
from lodestar.bundle import COST
from lodestar.errors import GateRefused
from lodestar.evaluation.guard import JUDGED_BY
from lodestar.evaluation.names import BUNDLES, MODEL, metric_title
from lodestar.evaluation.names import title as title_of
from lodestar.safe_text import command, line

REPORT, CARD, INGESTED = "report.html", "model_card.md", "ingest.md"
BUNDLE, ONLINE_STORE = "current/bundle", "current/online/online.db"
SHOWN = ("hr_at_10", "ndcg_at_10", "mrr_at_10", "coverage_at_10")
WIDTH = 110

Result = dict[str, Any]


def collect(outputs: dict[str, Path], output: Path) -> Result:
    """Bring what a person looks at to the output folder; the result as it is printed with --json."""
    evaluation = json.loads((outputs["evaluation"] / "evaluation.json").read_text())
    for name, source in ((REPORT, outputs["report"]), (CARD, outputs["card"]), (INGESTED, outputs["ingested"])):
        storage.put(source.read_bytes(), str(output / name))
    passes, online = evaluation["verdict"]["passes"], output / ONLINE_STORE
    return {
        "verdict": evaluation["verdict"],
        "metrics": {name: _figures(model) for name, model in evaluation["models"].items()},
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


def shown(result: Result) -> str:
    """The result for a terminal."""
    console = Console(width=WIDTH, highlight=False)
    with console.capture() as capture:
        console.print(_table(result))
        console.print(f"Training    {_cost(result['cost'])}")
        if result["cost"]["warning"]:
            console.print(f"Beware      {line(result['cost']['warning'])}", style="yellow", markup=False)
        console.print(f"Report      {line(result['report'])}", markup=False, soft_wrap=True)
        console.print(f"Model card  {line(result['model_card'])}", markup=False, soft_wrap=True)
        if result["bundle"]:
            console.print(f"Bundle      {line(result['bundle'])}\n", markup=False, soft_wrap=True)
            console.print("Serve it, and ask for ten titles:", style="bold")
            for words in _next_commands(result):
                console.print(f"  {command(words)}", soft_wrap=True, markup=False)
    return capture.get().rstrip()


def _next_commands(result: Result) -> list[list[str]]:
    """What to type next, as words."""
    features = ["--features", f"sqlite:{result['online_store']}"] if result["online_store"] else []
    served = ["serve", "--bundle", result["bundle"], *features]
    query = urlencode({"user": result["example_user"], "k": 10})
    return [[_program(), *served], ["curl", f"http://127.0.0.1:8080/v1/recommend?{query}"]]


def refusal(result: Result) -> GateRefused | None:
    """The error that a model which loses to a baseline ends with."""
    verdict, current = result["verdict"], result["still_current"]
    if verdict["passes"]:
        return None
    folder = Path(result["report"]).parent / CURRENT
    earlier = f" {folder} still serves the earlier release, bundle {current}." if current else ""
    return GateRefused(f"the gate refused the model: {verdict['reason']} Nothing was released.{earlier}")


def _cost(cost: dict[str, Any]) -> str:
    """What training took, in a line."""
    speed = f", {cost['samples_per_s']:,.0f} samples a second" if cost["samples"] else ""
    gpu = f", {cost['gpu_minutes']:.1f} GPU minutes ({cost['gpu_peak_memory_mib']:,.0f} MiB there)" if cost["gpu_minutes"] else ""
    return f"{cost['seconds']:,.0f} s, {cost['cpu_seconds']:,.0f} s of CPU{speed}, {cost['peak_memory_mib']:,.0f} MiB at most{gpu}"


def _figures(model: dict[str, Any]) -> dict[str, Any]:
    """Means over users with their intervals, and the catalogue's figures, which have none."""
    figures: dict[str, Any] = model["metrics"]
    return figures | {name: {"value": value} for name, value in model["catalogue"].items()}


def _table(result: Result) -> Table:
    asked = result["protocol"]
    title = (
        f"All {asked['items']:,} items ranked for {asked['users']:,} users of the {asked['part']} part, seen items left out; 95 % intervals"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in SHOWN:
        table.add_column(metric_title(name), justify="right")
    for model, figures in sorted(result["metrics"].items(), key=_rank):
        table.add_row(title_of(model), *(_cell(figures[name]) for name in SHOWN), style="bold" if model == MODEL else None)
    return table


def _rank(entry: tuple[str, dict[str, Any]]) -> tuple[int, float]:
    """The model first, then the one that it was compressed from, then the baselines, the best of them first."""
    name, figures = entry
    place = BUNDLES.index(name) if name in BUNDLES else len(BUNDLES)
    return place, -figures[JUDGED_BY]["value"]


def _cell(metric: dict[str, float]) -> str:
    interval = f" [{metric['low']:.4f}–{metric['high']:.4f}]" if "low" in metric else ""
    return f"{metric['value']:.4f}{interval}"


def _program() -> str:
    """How this command was called: `lodestar`, or its path where the shell does not find it."""
    called = Path(sys.argv[0])
    return called.name if shutil.which(called.name) else os.path.relpath(called)


def _example_user(features: Path) -> str:
    from lodestar.features.store import load

    return load(features).interactions.users[0]

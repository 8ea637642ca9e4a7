"""ETA of a whole local run: from the durations of the last run in the folder, or of the simulated shop, at this run's own pace."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lodestar.io import storage

FILE = "durations.json"
# Seconds of each step of a run of the simulated shop (75,000 events, the recipe `shop`), with Python's start: a third of a run's time on
# two cores that other work shared. The steps that have ended correct the pace, so the shares matter more than the seconds.
MEASURED_S: dict[str, float] = {
    "version": 3,
    "ingest": 5,
    "build_features": 18,
    "train": 88,
    "compress": 9,
    "evaluate": 8,
    "gate": 2,
    "publish": 13,
    "deploy": 2,
}
MIN_PACE, MAX_PACE = 0.1, 100.0


@dataclass(kw_only=True)
class RunEta:
    """Expected seconds per step, and those of steps that have ended; a step from the cache takes none and says nothing of the pace."""

    expected_s: Mapping[str, float]
    is_measured_here: bool = False
    ended_s: dict[str, float] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)

    def left_s(self, running: str, elapsed_s: float, phase_left_s: float | None) -> float:
        """Seconds left of the run: of the running step, of whose phase `phase_left_s` are left (None: unknown), and of the steps after it.

        A phase may end early, as training does, and others may follow it: the durations of an earlier run here go before its own ETA.
        """
        pace = self._pace()
        step_left_s = max(self.expected_s.get(running, 0.0) * pace - elapsed_s, 0.0)
        if phase_left_s is not None and not (self.is_measured_here and step_left_s):
            step_left_s = phase_left_s
        waiting = [name for name in self.expected_s if name != running and name not in self.ended_s and name not in self.skipped]
        return step_left_s + pace * sum(self.expected_s[name] for name in waiting)

    def _pace(self) -> float:
        """Duration of the steps that have ended, over what was expected of them."""
        expected_s = sum(self.expected_s.get(name, 0.0) for name in self.ended_s)
        return min(max(sum(self.ended_s.values()) / expected_s, MIN_PACE), MAX_PACE) if expected_s else 1.0


def read_eta(work: Path, recipe: str) -> RunEta:
    """The ETA of a run with its outputs in `work`: by the durations of the last run of this recipe there, else by MEASURED_S.

    A pipeline without a recipe has steps of its own, of which nothing is expected.
    """
    if not recipe:
        return RunEta(expected_s={})
    with suppress(OSError, ValueError, TypeError, KeyError):
        content = json.loads((work / FILE).read_text())
        if content["recipe"] == recipe:
            return RunEta(
                expected_s={name: float(content["steps"].get(name, MEASURED_S[name])) for name in MEASURED_S}, is_measured_here=True
            )
    return RunEta(expected_s=MEASURED_S)


def write_durations(work: Path, recipe: str, eta: RunEta) -> None:
    """Keep the durations of this run's steps for the next one; those of steps from the cache stay as they were."""
    durations = {**(eta.expected_s if eta.is_measured_here else {}), **{name: round(seconds, 1) for name, seconds in eta.ended_s.items()}}
    storage.put(json.dumps({"recipe": recipe, "steps": durations}).encode(), str(work / FILE))

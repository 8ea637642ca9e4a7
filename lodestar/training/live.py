"""Metrics while a training runs, for TensorBoard: configured where LODESTAR_TENSORBOARD names a folder, else nothing is written."""

import os
from pathlib import Path
from typing import Any

from lodestar.errors import EnvironmentFault

FOLDER = "LODESTAR_TENSORBOARD"


class Live:
    """Writes each epoch's line of a run into a folder of the run's name; a resumed run goes on from its last epoch there."""

    def __init__(self, run: str) -> None:
        self._folder = Path(os.environ[FOLDER]) / run if os.environ.get(FOLDER) else None
        self._writers: dict[str, Any] = {}
        if self._folder is not None:
            _writer()

    def show(self, line: dict[str, float | str]) -> None:
        """EnvironmentFault E593 where TensorBoard is asked for and not installed."""
        if self._folder is None:
            return
        stage, epoch = str(line["stage"]), int(line["epoch"])
        if stage not in self._writers:
            self._writers[stage] = _writer()(str(self._folder / stage), purge_step=epoch)
        writer = self._writers[stage]
        for name, value in line.items():
            if isinstance(value, float | int) and name != "epoch":
                writer.add_scalar(name, value, epoch)
        writer.flush()


def _writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        remedy = f"Install tensorboard, or do not set {FOLDER}."
        raise EnvironmentFault("E593", f"{FOLDER} is set and TensorBoard is not installed", remedy=remedy) from error
    return SummaryWriter

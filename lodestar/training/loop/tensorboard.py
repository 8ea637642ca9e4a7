"""TensorBoard logging of training metrics: on if the environment variable LODESTAR_TENSORBOARD names a folder."""

import os
from pathlib import Path
from typing import Any

from lodestar.errors import EnvironmentFault
from lodestar.process.environment_variables import TENSORBOARD


class TensorBoardWriter:
    """Writes epoch metrics into a folder of the run's name, one per stage; a resumed run replaces epochs after its checkpoint."""

    def __init__(self, run: str) -> None:
        self._folder = Path(os.environ[TENSORBOARD]) / run if os.environ.get(TENSORBOARD) else None
        self._writers: dict[str, Any] = {}
        if self._folder is not None:
            _summary_writer_class()

    def show(self, line: dict[str, float | str]) -> None:
        """Write the numeric values of an epoch's log line; EnvironmentFault E593 if TensorBoard is on and not installed."""
        if self._folder is None:
            return
        stage, epoch = str(line["stage"]), int(line["epoch"])
        if stage not in self._writers:
            self._writers[stage] = _summary_writer_class()(str(self._folder / stage), purge_step=epoch)
        writer = self._writers[stage]
        for name, value in line.items():
            if isinstance(value, float | int) and name != "epoch":
                writer.add_scalar(name, value, epoch)
        writer.flush()


def _summary_writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        remedy = f"Install tensorboard, or unset {TENSORBOARD}."
        raise EnvironmentFault("E593", f"{TENSORBOARD} is set and TensorBoard is not installed", remedy=remedy) from error
    return SummaryWriter

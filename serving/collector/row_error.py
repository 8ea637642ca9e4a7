"""Row errors of the collector, with the codes of `lodestar.data.contract.rules`."""

from typing import NamedTuple


class Rejection(NamedTuple):
    """The row error of a row that is refused: its code, the column (empty for the whole row), and a message."""

    code: str
    field: str
    message: str


class RowError(Exception):
    """An invalid value: the code, and a message if the code's own does not say enough; `field` is the column."""

    def __init__(self, code: str, message: str = "", field: str = "") -> None:
        self.code, self.message, self.field = code, message, field
        super().__init__(code)

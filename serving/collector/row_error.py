"""Row errors of the collector, with the data contract's codes."""

OUT_OF_RANGE, BAD_ID, IN_FUTURE, NAIVE = "E102", "E103", "E105", "E106"
WRONG_TYPE, UNKNOWN_TYPE, TOO_LONG, KEY_TWICE = "E107", "E110", "E170", "E173"


class RowError(Exception):
    """An invalid value: the code, and a message if the code's own does not say enough; `field` is the column."""

    def __init__(self, code: str, message: str = "", field: str = "") -> None:
        self.code, self.message, self.field = code, message, field
        super().__init__(code)

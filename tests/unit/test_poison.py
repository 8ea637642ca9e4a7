"""A message of Kafka's that we fail at is set aside, and those behind it are taken."""

from typing import Any

from lodestar import schema
from serving.collect.intake import Intake
from serving.collect.judge import Judge
from serving.collect.kafka import _taken

ROW = {schema.USER_ID: "u1", schema.ITEM_ID: "i1", schema.EVENT_TYPE: "view", schema.EVENT_TIME: "2024-01-01T12:00:00Z"}


class Failing(Judge):
    def row(self, given: Any, *arguments: Any) -> Any:
        if given.get(schema.ITEM_ID) == "poison":
            raise RecursionError
        return super().row(given, *arguments)


def test_a_message_that_we_fail_at_is_set_aside_alone() -> None:
    intake = Intake(schema.EVENTS)
    intake._judge = Failing(schema.EVENTS)
    rows = [ROW, {**ROW, schema.ITEM_ID: "poison"}, {**ROW, schema.USER_ID: " "}, {**ROW, schema.ITEM_ID: "i2"}]
    taken = _taken(intake, rows, ["a", "b", "c", "d"])
    assert [(place, fault.code) for place, fault in taken.refused] == [(1, "E500"), (2, "E103")]
    assert (taken.num_rows, taken.lines.count(b"\n")) == (2, 2)

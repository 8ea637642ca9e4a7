"""What the collector answers, and what it keeps."""

import asyncio
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from lodestar import schema
from serving.collector import app as collect_app
from serving.collector import landing
from serving.collector.app import MAX_BODY_BYTES, App
from serving.collector.intake import MAX_ROWS, Intake
from serving.collector.journal import Journal
from serving.collector.metrics import Metrics
from serving.http.connection_limits import Load
from serving.spool import Spool

EVENT = {schema.USER_ID: "u1", schema.EVENT_TYPE: "view", schema.ITEM_ID: "i1", schema.EVENT_TIME: "2024-01-01T12:00:00Z"}
NDJSON = {"content-type": "application/x-ndjson"}


class Collected:
    """An application with a landing of its own."""

    def __init__(self, folder: Path, key: str = "", origins: tuple[str, ...] = ()) -> None:
        self.folder, self.metrics = folder, Metrics()
        self.spool = landing.open_spool(landing.Landing(str(folder)), folder / ".spool", 3600, self.metrics.published)
        self.journal = Journal(self.spool)
        self.app = App(self.journal, self.metrics, key, origins, Load())

    def ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        return self.ask_all([(method, path, content)])[0]

    def ask_all(self, asks: list[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
        """Answers to requests that come at once."""

        async def asked() -> list[httpx.Response]:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test") as client:
                return await asyncio.gather(*(client.request(method, path, **content) for method, path, content in asks))

        return asyncio.run(asked())

    def post(self, body: Any, path: str = "/v1/events", **content: Any) -> httpx.Response:
        return self.ask("POST", path, content=body if isinstance(body, bytes) else orjson.dumps(body), **content)

    def rows(self, table: str = "events") -> list[dict[str, Any]]:
        self.spool.close()
        parts = sorted((self.folder / table).glob("part-*.jsonl.gz"))
        return [orjson.loads(line) for part in parts for line in gzip.decompress(part.read_bytes()).splitlines()]


@pytest.fixture
def collected(tmp_path: Path) -> Iterator[Collected]:
    made = Collected(tmp_path)
    yield made
    made.spool.close()


def test_a_body_is_an_object_an_array_or_lines(collected: Collected) -> None:
    two = [{**EVENT, schema.ITEM_ID: item} for item in ("i2", "i3")]
    lines = b"\n".join(map(orjson.dumps, [*two, EVENT])) + b"\n"
    answers = [collected.post(EVENT), collected.post(two), collected.post(lines, headers=NDJSON)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(202, {"accepted": count}) for count in (1, 2, 3)]
    assert [row[schema.ITEM_ID] for row in collected.rows()] == ["i1", "i2", "i3", "i2", "i3", "i1"]


def test_a_row_is_written_with_the_contracts_columns_and_when_it_became_known(collected: Collected) -> None:
    answer = collected.post({**EVENT, "colour": "red", schema.INGESTED_AT: "1999-01-01T00:00:00Z", schema.EVENT_TIME: 1_700_000_000})
    assert answer.json() == {"accepted": 1, "ignored": ["colour"]}
    (row,) = collected.rows()
    assert row.keys() == {*EVENT, schema.EVENT_ID, schema.INGESTED_AT}
    assert row[schema.EVENT_TIME] == "2023-11-14T22:13:20.000000+00:00"
    assert row[schema.INGESTED_AT] > "2025"


def test_the_same_row_sent_again_is_the_same_event(collected: Collected) -> None:
    for row in (EVENT, dict(reversed(EVENT.items())), {**EVENT, schema.DEVICE: "phone"}, {**EVENT, schema.EVENT_ID: "mine"}):
        collected.post(row)
    first, again, other, named = (row[schema.EVENT_ID] for row in collected.rows())
    assert first == again != other
    assert named == "mine"


def test_one_bad_row_refuses_the_request(collected: Collected) -> None:
    answer = collected.post([EVENT, {**EVENT, schema.EVENT_TYPE: "veiw"}])
    assert answer.status_code == 422
    assert {name: answer.json()[name] for name in ("code", "field", "row")} == {"code": "E110", "field": schema.EVENT_TYPE, "row": 1}
    assert "'view'" in answer.json()["message"]
    assert collected.rows() == []


def test_good_rows_are_kept_beside_bad_ones_where_that_is_asked(collected: Collected) -> None:
    bad = {**EVENT, schema.EVENT_TIME: "2024-01-01T12:00:00"}
    answer = collected.post([bad, EVENT, 5], "/v1/events?partial=1")
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1
    assert [(fault["row"], fault["code"]) for fault in answer.json()["rejected"]] == [(0, "E106"), (2, "E109")]
    none = collected.post([bad], "/v1/events?partial=1")
    assert (none.status_code, none.json()["accepted"], none.json()["code"]) == (422, 0, "E106")
    assert len(collected.rows()) == 1


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        ({schema.USER_ID: None}, "E103", schema.USER_ID),
        ({schema.USER_ID: "x" * 129}, "E103", schema.USER_ID),
        ({schema.USER_ID: ["u1"]}, "E107", schema.USER_ID),
        ({schema.EVENT_ID: ""}, "E103", schema.EVENT_ID),
        ({schema.EVENT_TIME: None}, "E107", schema.EVENT_TIME),
        ({schema.EVENT_TIME: "2199-01-01T00:00:00Z"}, "E105", schema.EVENT_TIME),
        ({schema.EVENT_TIME: "3024-01-01T00:00:00Z"}, "E105", schema.EVENT_TIME),
        ({schema.EVENT_TIME: 20231114}, "E112", schema.EVENT_TIME),
        ({schema.EVENT_TIME: "0000-01-01T00:00:00Z"}, "E102", schema.EVENT_TIME),
        ({schema.EVENT_TIME: -(10**17) + 1}, "E102", schema.EVENT_TIME),
        ({schema.EVENT_TYPE: "purchase"}, "E111", schema.VALUE),
        ({schema.EVENT_TYPE: "purchase", schema.VALUE: 0, schema.CURRENCY: "EUR"}, "E102", schema.VALUE),
        ({schema.EVENT_TYPE: "follow"}, "E103", schema.TARGET_USER_ID),
        ({schema.EVENT_TYPE: "rating", schema.RATING: 5.5}, "E102", schema.RATING),
        ({schema.USER_ID: "undefined"}, "E103", schema.USER_ID),
    ],
)
def test_a_bad_value_is_named(collected: Collected, row: dict[str, Any], code: str, field: str) -> None:
    answer = collected.post({**EVENT, **row})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, code, field)


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ({schema.RATING: 5.5}, "E102"),
        ({schema.POSITION: -1}, "E102"),
        ({schema.SURFACE: "é" * 4097}, "E170"),
        ({schema.SURFACE: "undefined"}, "E114"),
        ({schema.ATTRS: {"a": {"b": 1}}}, "E107"),
        ({schema.ATTRS: {str(number): 1 for number in range(65)}}, "E170"),
        ({schema.ATTRS: {"a": "x" * 8192}}, "E170"),
    ],
)
def test_a_cell_that_its_row_does_not_need_is_left_out_and_counted(collected: Collected, cell: dict[str, Any], code: str) -> None:
    answer = collected.post([{**EVENT, **cell}, EVENT])
    (field,) = cell
    assert (answer.status_code, answer.json()["nulled"]) == (202, {field: {code: 1}})
    assert [field in row for row in collected.rows()] == [False, False]
    assert f'lodestar_collect_cells_nulled_total{{code="{code}",table="events"}} 1.0' in collected.ask("GET", "/metrics").text


def test_ids_are_kept_in_their_normal_form(collected: Collected) -> None:
    collected.post({**EVENT, schema.USER_ID: " 5.0 ", schema.ITEM_ID: 7.0, schema.SESSION_ID: "3.0"})
    assert [(row[schema.USER_ID], row[schema.ITEM_ID], row[schema.SESSION_ID]) for row in collected.rows()] == [("5", "7", "3")]


@pytest.mark.parametrize("field", [schema.USER_ID, schema.SURFACE, schema.ATTRS])
def test_numbers_that_would_become_others_are_not_kept_where_a_text_is_wanted(collected: Collected, field: str) -> None:
    for number in ("12345678901234567890123", "-9223372036854775809", "9007199254740993.0", "1e300"):
        for value in [f'{{"a":{number}}}', f'"{{\\"a\\":{number}}}"'] if field == schema.ATTRS else [number]:
            answer = collected.post(orjson.dumps({**EVENT, field: 0}).replace(b'"%s":0' % field.encode(), f'"{field}":{value}'.encode()))
            if field == schema.USER_ID:
                assert (answer.status_code, answer.json().get("code"), answer.json().get("field")) == (422, "E107", field), value
            else:
                assert (answer.status_code, answer.json().get("nulled")) == (202, {field: {"E107": 1}}), value
    assert collected.post({**EVENT, schema.USER_ID: 2**64 - 1, schema.ATTRS: {"a": 2**64 - 1, "b": 0.5}}).status_code == 202
    assert collected.rows()[-1][schema.USER_ID] == str(2**64 - 1)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 422, "E440"),
        (b"{}\n{", 422, "E440"),
        (b"[]", 422, "E201"),
        (b"5", 422, "E109"),
        (b'{"user_id": "\xff"}', 422, "E104"),
        (b"[" * 100_000, 422, "E442"),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, 422, "E440"),
        (orjson.dumps([EVENT] * (MAX_ROWS + 1)), 413, "E413"),
        (b"{}\n" * (MAX_ROWS + 1), 413, "E413"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "E413"),
    ],
    ids=range(10),
)
def test_an_invalid_body_is_rejected(collected: Collected, body: bytes, status: int, code: str) -> None:
    answer = collected.post(body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_what_is_not_there_is_said(collected: Collected) -> None:
    assert collected.ask("GET", "/v1/nothing").status_code == 404
    answer = collected.ask("GET", "/v1/events")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert collected.ask("OPTIONS", "/v1/events").status_code == 405
    assert collected.ask("HEAD", "/v2/health/live").status_code == 200


def test_impressions_go_to_their_own_table(collected: Collected) -> None:
    shown = {
        **{schema.REQUEST_ID: "r1", schema.USER_ID: "u1", schema.ITEM_ID: "i1", schema.POSITION: 1, schema.SURFACE: "home"},
        **{schema.SHOWN_AT: "2024-01-01T12:00:00Z", schema.MODEL_DIGEST: "d", schema.ARM: "control", schema.PROPENSITY: 1.0},
    }
    assert collected.post(shown, "/v1/impressions").json()["field"] == schema.FEATURE_HASH
    assert collected.post({**shown, schema.FEATURE_HASH: "h"}, "/v1/impressions").status_code == 202
    assert [row[schema.REQUEST_ID] for row in collected.rows("impressions")] == ["r1"]


def test_pages_of_allowed_sites_may_send(tmp_path: Path) -> None:
    ours = {"origin": "https://shop.example"}
    collected = Collected(tmp_path, origins=("https://shop.example",))
    asked = collected.ask("OPTIONS", "/v1/events", headers=ours)
    assert (asked.status_code, asked.headers["access-control-allow-methods"]) == (204, "POST")
    for answer in (asked, collected.post(EVENT, headers=ours), collected.post({}, headers=ours)):
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-origin" not in collected.post(EVENT, headers={"origin": "https://other.example"}).headers
    collected.spool.close()


def test_who_does_not_know_the_key_is_not_heard(tmp_path: Path) -> None:
    collected = Collected(tmp_path, key="secret")
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "secret"}):
        answer = collected.post(EVENT, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "E401")
    assert collected.post(EVENT, headers={"authorization": "Bearer secret"}).status_code == 202
    assert len(collected.rows()) == 1


def test_when_too_much_waits_senders_are_put_off(collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    assert collected.ask("GET", "/v2/health/ready").json() == {"ready": True}
    with monkeypatch.context() as small:
        small.setattr(Spool, "is_full", True)
        answer = collected.post(EVENT)
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "E445", "5")
        assert collected.ask("GET", "/v2/health/ready").status_code == 503
        assert collected.ask("GET", "/v2/health/live").status_code == 200
    with monkeypatch.context() as few:
        few.setattr(collect_app, "MAX_CONCURRENCY", 0)
        assert collected.post(EVENT).status_code == 503
    assert collected.post(EVENT).status_code == 202


def test_a_spool_that_is_in_the_way_puts_senders_off_and_no_longer_than_it_is(
    collected: Collected, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = collected.folder / ".spool" / "events"
    in_the_way.touch()
    for _ in range(2):
        answer = collected.post(EVENT)
        assert (answer.status_code, answer.json()["code"]) == (503, "E445")
    assert "E567" in caplog.text
    in_the_way.unlink()
    assert collected.post(EVENT).status_code == 202
    asyncio.run(collected.journal.close())
    assert len(collected.rows()) == 1


def test_metrics_count_and_name_nobody(collected: Collected) -> None:
    collected.post([{**EVENT, schema.USER_ID: "somebody"}, {**EVENT, schema.EVENT_TYPE: "veiw"}], "/v1/events?partial=1")
    page = collected.ask("GET", "/metrics").text
    assert 'lodestar_collect_rows_total{outcome="accepted",table="events"} 1.0' in page
    assert 'lodestar_collect_rows_total{outcome="E110",table="events"} 1.0' in page
    assert 'lodestar_collect_requests_total{route="/v1/events",status="202"} 1.0' in page
    assert "somebody" not in page


def test_requests_that_come_at_once_are_written_together(collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    append = Spool.append

    def counted(self: Spool, rows: dict[str, bytes]) -> None:
        writes.append(sum(lines.count(b"\n") for lines in rows.values()))
        append(self, rows)

    monkeypatch.setattr(Spool, "append", counted)
    asks = [("POST", "/v1/events", {"json": {**EVENT, schema.ITEM_ID: f"i{number}"}}) for number in range(100)]
    assert {answer.status_code for answer in collected.ask_all(asks)} == {202}
    assert sum(writes) == 100
    assert len(writes) < 50
    assert len(collected.rows()) == 100


def test_a_name_that_is_given_is_used_where_the_row_has_none() -> None:
    rows = [EVENT, {**EVENT, schema.EVENT_ID: "own"}]
    accepted = Intake(schema.EVENTS).take(rows, ["first", "second"])
    assert [orjson.loads(line)[schema.EVENT_ID] for line in accepted.lines.splitlines()] == ["first", "own"]

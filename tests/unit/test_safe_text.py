"""What ids, names and paths may hold, and what is seen of it."""

import io
import logging
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli import summary
from lodestar.data.contract.report import Report, TableReport
from lodestar.errors import DataError, EnvironmentFault, Location, UsageError
from lodestar.evaluation.report import card, template
from lodestar.process.command_line import Parser
from lodestar.process.safe_text import Formatter, command, markdown, masked, one_line, printable

ESCAPE, BIDI = "\x1b[31mred", "user\u202egnp.exe"
HOSTILE = (
    "u'; touch pwned; '",
    "$(touch pwned)",
    "`touch pwned`",
    "a\ntouch pwned",
    "[bold]b[/bold]",
    "é b&k=1",
    "x\x1b]0;t\x07",
    "\\'$(touch pwned)\n",
)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (ESCAPE, "\\x1b[31mred"),
        (BIDI, "user\\u202egnp.exe"),
        ("a\rb\x9bc\u2028d", "a\\x0db\\x9bc\\u2028d"),
        ("caf\udce9.csv", "caf\\udce9.csv"),
        ("一 é 👩\u200d🚀\ttab\n", "一 é 👩\u200d🚀\ttab\n"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_characters_that_are_not_to_be_seen_are_shown_as_codes(text: str, seen: str) -> None:
    assert printable(text) == seen
    assert "\n" not in one_line(text)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("redis://:s3cr3t@host:6379/0", "redis://:***@host:6379/0"),
        ("rediss://user:p@ss/w@host", "rediss://user:***@host"),
        ("postgresql://me:s3cr3t@db/feast?sslpassword=s3cr3t", "postgresql://me:***@db/feast?sslpassword=***"),
        (
            "https://b.s3.example/k?X-Amz-Credential=s3cr3t&X-Amz-Signature=s3cr3t&x=1",
            "https://b.s3.example/k?X-Amz-Credential=***&X-Amz-Signature=***&x=1",
        ),
        ("username=me,password=s3cr3t,ssl=true", "username=me,password=***,ssl=true"),
        ("AWS_SECRET_ACCESS_KEY=s3cr3t; done", "AWS_SECRET_ACCESS_KEY=***; done"),
        ("sasl.password: s3cr3t", "sasl.password: ***"),
        ("{'sasl.password': 's3cr3t'}", "{'sasl.password': '***'}"),
        ('{"password": "s3 \\" cr3t", "a": 1}', '{"password": "***", "a": 1}'),
        ('"{\\"token\\": \\"s3cr3t\\", 1}"', '"{\\"token\\": \\"***\\", 1}"'),
        ("LODESTAR_COLLECT_KEY=s3cr3t", "LODESTAR_COLLECT_KEY=***"),
        ("Authorization: Bearer s3cr3t.x-1", "Authorization: Bearer ***"),
        ("{'authorization': 'Bearer s3cr3t'}", "{'authorization': 'Bearer ***'}"),
        ("authorization: Basic czNjcjN0", "authorization: Basic ***"),
        ("send Authorization: Bearer KEY, or", "send Authorization: Bearer KEY, or"),
        ("api_key=s3cr3t client_secret='s3cr3t' dbPassword=s3cr3t", "api_key=*** client_secret='***' dbPassword=***"),
        ("AccountName=me;AccountKey=s3cr3t==;x=1", "AccountName=me;AccountKey=***;x=1"),
        ("password=s3cr3t&s3cr3t", "password=***"),
        ("password=s3cr3t,s3cr3t;s3cr3t, and more", "password=***, and more"),
        ("the key: user_id, foreign_key=item_id", "the key: user_id, foreign_key=item_id"),
        ("http://host:8080/v1?user=u1", "http://host:8080/v1?user=u1"),
        ("http://h:80/a?mail=x@y", "http://h:80/a?mail=x@y"),
        ("http://h:80#x@y http://[::1]:80/a?mail=x@y", "http://h:80#x@y http://[::1]:80/a?mail=x@y"),
        ("redis://:80/a?s3cr3t@host", "redis://:***@host"),
        ("redis://[u:s3cr3t@host redis://u:8a/?s3cr3t@host", "redis://[u:***@host redis://u:***@host"),
        ("https://s3cr3t@host/a git+https://s3cr3t:@host", "https://***@host/a git+https://***@host"),
        ("https://s3cr3t:x-oauth-basic@host, ssh://git@host", "https://***@host, ssh://git@host"),
        ("https://s3cr3t@a,https://s3cr3t@b", "https://***@a,https://***@b"),
        ("Authorization:Basic czNjcjN0", "Authorization:Basic ***"),
        ("('Authorization', 'Basic czNjcjN0') Proxy-Authorization=basic x", "('Authorization', 'Basic ***') Proxy-Authorization=basic ***"),
        ("Authorization: Token s3cr3t", "Authorization: Token ***"),
        ("/?secretKey=s3cr3t&refreshToken=s3cr3t", "/?secretKey=***&refreshToken=***"),
        ('{"refreshToken": "s3cr3t", "secretKey":"s3cr3t"}', '{"refreshToken": "***", "secretKey":"***"}'),
        ("curl --token s3cr3t --url u", "curl --token *** --url u"),
        ("--db-password  's3 cr3t' --api-key s3cr3t", "--db-password  '***' --api-key ***"),
        ("['curl', '--token', 's3cr3t', '--url', 'u']", "['curl', '--token', '***', '--url', 'u']"),
        ("--password --url u, 5 tokens: a", "--password --url u, 5 tokens: a"),
        ("s3://bucket/events", "s3://bucket/events"),
    ],
)
def test_passwords_are_masked(text: str, seen: str) -> None:
    assert masked(text) == seen


def test_masking_takes_no_longer_than_reading() -> None:
    """Signs that could begin or end a secret anywhere; what grows with their square would take minutes."""
    for sign in (
        "password=",
        "a_",
        "password=\\",
        "&",
        "password='",
        "Bearer ",
        "sig",
        "://:",
        "https://",
        "://h:1/",
        "http://a:",
        "--token '",
    ):
        masked(sign * 50_000)


def test_an_error_shows_neither_passwords_nor_what_moves_a_cursor() -> None:
    errors = [
        UsageError(f"no {ESCAPE} at redis://:s3cr3t@host"),
        DataError("E101", f"no {ESCAPE}", remedy="See redis://:s3cr3t@host", place=Location(file=f"{ESCAPE}.csv", value=ESCAPE)),
        EnvironmentFault("E503", f"no {ESCAPE}", remedy="See redis://:s3cr3t@host"),
    ]
    for error in errors:
        assert "\x1b" not in str(error)
        assert "s3cr3t" not in str(error)
    assert str(UsageError("no file a\nlodestar: all is well")) == "no file a\n  lodestar: all is well"


def test_a_usage_error_repeats_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Parser(prog="x").parse_args([f"--featurs=redis://:s3cr3t@host{ESCAPE}"])
    said = capsys.readouterr().err
    assert "redis://:***@host" in said
    assert "\x1b" not in said


def test_a_record_of_a_log_is_one_line() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter("%(levelname)s %(message)s"))
    for error in (ValueError(f"{ESCAPE} redis://:s3cr3t@host"), None):
        handler.emit(
            logging.LogRecord(
                "x", logging.WARNING, "", 0, "no %s", ("a\nERROR all is lost\x1b[2J",), (type(error), error, None) if error else None
            )
        )
    said = stream.getvalue()
    assert [text for text in said.splitlines() if text.startswith("ERROR")] == []
    assert "\x1b" not in said
    assert "s3cr3t" not in said


@pytest.mark.parametrize("user", HOSTILE)
def test_what_is_to_be_typed_next_runs_nothing_else(user: str, tmp_path: Path) -> None:
    """Pasted into a shell, with a curl that writes down what it is given."""
    curl = tmp_path / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {shlex.quote(str(tmp_path / "asked"))}\n')
    curl.chmod(0o755)
    words = summary._next_commands(_result(user, str(tmp_path)))[1]
    subprocess.run(["bash", "-c", command(words)], cwd=tmp_path, env={"PATH": f"{curl.parent}:{os.environ['PATH']}"}, check=True)
    assert not (tmp_path / "pwned").exists()
    assert (tmp_path / "asked").read_text() == words[1]
    assert "\x1b" not in command(words)


@pytest.mark.parametrize("word", [*HOSTILE, "next line\x85 and \x9b1m", "caf\udce9.csv", "\u202egnp.exe", "\U000e0041a"])
def test_a_word_is_pasted_as_it_is(word: str) -> None:
    done = subprocess.run(["bash", "-c", command(["printf", "%s", word])], capture_output=True, check=True)
    assert done.stdout == os.fsencode(word)
    assert not re.search(r"[\x00-\x1f]", command([word]))


@pytest.mark.parametrize("name", ["[red]out[/red]", "out\x1b[31m", "out put", "o'ut; touch pwned"])
def test_a_run_s_summary_shows_paths_as_they_are(name: str) -> None:
    shown = summary.render(_result("u1", name))
    assert "\x1b[31m" not in shown
    assert one_line(f"{name}/report.html") in shown
    served = next(text for text in shown.splitlines() if " serve " in text)
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {served.partition(' serve ')[2]}"], capture_output=True, text=True, check=True
    ).stdout
    assert words.split("\0")[1] == f"{name}/bundle"


def test_a_report_of_an_ingest_holds_no_markup_of_the_data() -> None:
    value = "<script>x</script> [a](http://b) `c` \x1b[31m\n# Forged | x"
    table = TableReport(rows_in=1, ignored=(value,), notes=(value,), offenders={"E101": (value,)}, derived={"a": value})
    text = Report(source=value, order_only=False, notes=(value,), tables={"events": table}).markdown()
    assert "\x1b" not in text
    assert not re.search(r"^# Forged", text, flags=re.MULTILINE)
    assert text.count("\\<script>") == 5
    assert "](" not in text.partition("\n")[2].replace("\\](", "")


def test_a_card_and_a_page_hold_no_character_that_is_not_seen() -> None:
    assert card._plain(f"<b>{BIDI}{ESCAPE}") == "&lt;b&gt;user\\\\u202egnp\\.exe\\\\x1b\\[31mred"
    assert template._printable(f"<b>{BIDI}{ESCAPE}") == "<b>user\\u202egnp.exe\\x1b[31mred"


def test_markdown_is_one_line_of_text() -> None:
    assert markdown("a|b\n<i>") == "a\\|b\\\\n\\<i>"


def _result(user: str, folder: str) -> dict[str, Any]:
    cost = {"seconds": 1, "cpu_seconds": 1, "samples": 0, "gpu_minutes": 0, "peak_memory_mib": 1, "warning": ""}
    paths = {
        "report": f"{folder}/report.html",
        "model_card": f"{folder}/model_card.md",
        "bundle": f"{folder}/bundle",
        "online_store": f"{folder}/online.db",
    }
    asked = {"items": 1, "users": 1, "part": "test"}
    return {"metrics": {}, "protocol": asked, "cost": cost, "example_user": user, "verdict": {"passes": True, "reason": ""}, **paths}

"""A public data set comes from a real server, whole and checked, once its terms are agreed to."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.main import main
from lodestar.data.datasets import public_datasets
from lodestar.errors import EnvironmentFault
from lodestar.io import download


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for name, text in (("set/u.data", "1\t2\t3\t4\n" * 5000), ("set/README", "terms"), ("../../evil", "never unpacked")):
            packed.writestr(name, text)
    return content.getvalue()


CONTENT = archive()
KNOWN = public_datasets.DownloadableDataset(
    url="http://unused.invalid/",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    members=("set/u.data", "set/README"),
    terms="For reading only.",
    citation="Someone, 1998.",
)


class Server(BaseHTTPRequestHandler):
    """Gives ranges, or all every time; breaks off after some bytes of each answer."""

    content, knows_ranges, breaks_off = CONTENT, True, 100
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.knows_ranges else 0
        self.asked.append(self.headers["Range"])
        if self.path == "/moved":
            self.send_error(404)
            return
        self.send_response(206 if self.knows_ranges else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start : start + self.breaks_off])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    monkeypatch.setattr(Server, "asked", [])
    monkeypatch.setitem(public_datasets.ONLINE, "movielens-100k", KNOWN)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/set.zip"
        server.shutdown()


def test_what_breaks_off_goes_on_and_only_what_is_known_is_unpacked(address: str, tmp_path: Path) -> None:
    public_datasets.fetch(KNOWN, tmp_path / "set", address)
    assert {file.name: file.read_text() for file in (tmp_path / "set").iterdir()} == {"u.data": "1\t2\t3\t4\n" * 5000, "README": "terms"}
    assert Server.asked == [f"bytes={start}-" for start in range(0, len(CONTENT), Server.breaks_off)]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_server_that_knows_no_ranges_is_read_past_what_is_there(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "knows_ranges", False)
    part = tmp_path / f"..set.zip.{hashlib.sha256(KNOWN.sha256.encode()).hexdigest()[: download.TAG_DIGITS]}.part"
    part.write_bytes(CONTENT[:70])
    monkeypatch.setattr(Server, "breaks_off", len(CONTENT))
    public_datasets.fetch(KNOWN, tmp_path / "set", address)
    assert (tmp_path / "set" / "README").read_text() == "terms"


def test_another_archive_is_refused_and_nothing_is_left(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "content", CONTENT[::-1])
    with pytest.raises(EnvironmentFault, match="E511"):
        public_datasets.fetch(KNOWN, tmp_path / "set", address)
    assert list(tmp_path.iterdir()) == []


def test_a_member_that_is_a_link_is_not_unpacked(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, link = io.BytesIO(), zipfile.ZipInfo("set/README")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("set/u.data", "1")
        packed.writestr(link, "/etc/passwd")
    monkeypatch.setattr(Server, "content", content.getvalue())
    known = replace(KNOWN, size=len(content.getvalue()), sha256=hashlib.sha256(content.getvalue()).hexdigest())
    with pytest.raises(EnvironmentFault, match="E562"):
        public_datasets.fetch(known, tmp_path / "set", address)
    assert not (tmp_path / "set").exists()


def test_an_archive_that_has_moved_is_said(address: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"E515 .* returned 404"):
        public_datasets.fetch(KNOWN, tmp_path / "set", address.replace("set.zip", "moved"))


def test_the_terms_are_shown_and_must_be_agreed_to(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "fetch", "movielens-100k", "--output", str(tmp_path / "set"), "--url", address]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert KNOWN.terms in said
    assert "--accept-terms" in said
    assert not (tmp_path / "set").exists()
    assert main([*command, "--accept-terms"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'set'}\n"
    assert (tmp_path / "set" / "u.data").is_file()


def test_a_set_that_is_given_out_by_hand_says_where_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    for name, found in public_datasets.BY_HAND.items():
        assert main(["data", "fetch", name]) == 2
        said = capsys.readouterr().err
        assert found.page in said
        assert found.files in said

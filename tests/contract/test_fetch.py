"""A public data set comes from a real server, whole and checked, once its terms are agreed to."""

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.main import main
from lodestar.data.datasets import catalogue, downloads
from lodestar.data.declaration.about import Download
from lodestar.data.declaration.parse import parse
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.io import download


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for name, text in (("set/u.data", "1\t2\t3\t4\n" * 5000), ("set/README", "terms"), ("../../evil", "never unpacked")):
            packed.writestr(name, text)
    return content.getvalue()


CONTENT = archive()
NAME, TERMS = "movielens-100k", "For reading only."


def known(content: bytes, name: str, *members: str) -> Download:
    """An archive of which all is known."""
    return Download(url=f"http://unused.invalid/{name}", bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), members=members)


KNOWN = known(CONTENT, "set.zip", "set/u.data", "set/README")


def offered(monkeypatch: pytest.MonkeyPatch, *downloads: Download) -> None:
    """Offer these files in place of those of MovieLens-100K."""
    found = replace(catalogue.offer(NAME), terms=TERMS, download=downloads)
    monkeypatch.setattr(catalogue, "offer", lambda _: found)


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

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    monkeypatch.setattr(Server, "asked", [])
    offered(monkeypatch, KNOWN)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/set.zip"
        server.shutdown()


def test_what_breaks_off_goes_on_and_only_what_is_known_is_unpacked(address: str, tmp_path: Path) -> None:
    downloads.fetch(NAME, tmp_path / "set", address)
    found = {file.name: file.read_text() for file in (tmp_path / "set").iterdir() if file.name != downloads.RECORD}
    assert found == {"u.data": "1\t2\t3\t4\n" * 5000, "README": "terms"}
    record = json.loads((tmp_path / "set" / downloads.RECORD).read_text())
    assert record == [{"url": address, "bytes": len(CONTENT), "sha256": KNOWN.sha256, "is_verified": True}]
    assert Server.asked == [f"bytes={start}-" for start in range(0, len(CONTENT), Server.breaks_off)]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_server_that_knows_no_ranges_is_read_past_what_is_there(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "knows_ranges", False)
    part = tmp_path / f"..set.zip.{hashlib.sha256(KNOWN.sha256.encode()).hexdigest()[: download.TAG_DIGITS]}.part"
    part.write_bytes(CONTENT[:70])
    monkeypatch.setattr(Server, "breaks_off", len(CONTENT))
    downloads.fetch(NAME, tmp_path / "set", address)
    assert (tmp_path / "set" / "README").read_text() == "terms"


def test_another_archive_is_refused_and_nothing_is_left(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "content", CONTENT[::-1])
    with pytest.raises(EnvironmentFault, match="E511"):
        downloads.fetch(NAME, tmp_path / "set", address)
    assert list(tmp_path.iterdir()) == []


def test_a_member_that_is_a_link_is_not_unpacked(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, link = io.BytesIO(), zipfile.ZipInfo("set/README")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("set/u.data", "1")
        packed.writestr(link, "/etc/passwd")
    monkeypatch.setattr(Server, "content", content.getvalue())
    offered(monkeypatch, known(content.getvalue(), "set.zip", *KNOWN.members))
    with pytest.raises(EnvironmentFault, match="E562"):
        downloads.fetch(NAME, tmp_path / "set", address)
    assert not (tmp_path / "set").exists()


def test_a_file_that_an_archive_lacks_is_said(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, KNOWN.model_copy(update={"members": ("set/u.data", "set/u.item")}))
    with pytest.raises(EnvironmentFault, match=r"E511 .* it has no set/u.item"):
        downloads.fetch(NAME, tmp_path / "set", address)
    assert not (tmp_path / "set").exists()


def test_a_packed_tar_archive_is_unpacked_without_its_links(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as packed:
        for name, text in (("set/plays.tsv", b"u\ta\n"), ("../../evil", b"never unpacked")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            packed.addfile(member, io.BytesIO(text))
        link = tarfile.TarInfo("set/README")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    monkeypatch.setattr(Server, "content", content.getvalue())
    monkeypatch.setattr(Server, "breaks_off", 1 << 20)
    offered(monkeypatch, known(content.getvalue(), "set.tar.gz", "set/plays.tsv"))
    downloads.fetch(NAME, tmp_path / "set", address)
    assert {file.name for file in (tmp_path / "set").iterdir()} == {"plays.tsv", downloads.RECORD}
    offered(monkeypatch, known(content.getvalue(), "set.tar.gz", "set/plays.tsv", "set/README"))
    with pytest.raises(EnvironmentFault, match="E562"):
        downloads.fetch(NAME, tmp_path / "other", address)


def test_what_is_no_archive_is_said(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "content", b"<html>moved</html>")
    for name in ("set.zip", "set.tar.gz"):
        offered(monkeypatch, Download(url=address.replace("set.zip", name), members=("set/u.data",)))
        with pytest.raises(EnvironmentFault, match="E511"):
            downloads.fetch(NAME, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_files_without_a_known_checksum_are_resumed_recorded_and_said(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("reviews.json.gz", "meta.json.gz")
    offered(monkeypatch, *(Download(url=address.replace("set.zip", name)) for name in names))
    monkeypatch.setattr(Server, "breaks_off", len(CONTENT) // 2)
    assert main(["data", "fetch", NAME, "--output", str(tmp_path / "set"), "--accept-terms"]) == 0
    assert all((tmp_path / "set" / name).read_bytes() == CONTENT for name in names)
    record = json.loads((tmp_path / "set" / downloads.RECORD).read_text())
    assert {(one["bytes"], one["sha256"], one["is_verified"]) for one in record} == {(len(CONTENT), KNOWN.sha256, False)}
    assert f"No checksum is known of these files; what came is recorded in {downloads.RECORD}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    with pytest.raises(UsageError, match="2 files, and --url names one"):
        downloads.fetch(NAME, tmp_path / "set", address)


def test_an_archive_that_has_moved_is_said(address: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"E515 .* returned 404"):
        downloads.fetch(NAME, tmp_path / "set", address.replace("set.zip", "moved"))


def test_the_terms_are_shown_and_must_be_agreed_to(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "fetch", "movielens-100k", "--output", str(tmp_path / "set"), "--url", address]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert TERMS in said
    assert "--accept-terms" in said
    assert not (tmp_path / "set").exists()
    assert main([*command, "--accept-terms"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'set'}\n"
    assert (tmp_path / "set" / "u.data").is_file()


def test_a_set_that_is_given_out_by_hand_says_where_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    by_hand = [one for one in map(catalogue.offer, catalogue.names()) if not one.download]
    assert {"retailrocket", "hm", "netflix-prize", "interactions"} <= {one.name for one in by_hand}
    for one in by_hand:
        assert main(["data", "fetch", one.name]) == 2
        said = capsys.readouterr().err
        assert one.url in said
        assert one.files
        assert all(file in said for file in one.files)


def test_all_datasets_are_listed_within_a_terminals_width(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= catalogue.WIDTH
    assert [line.partition("  (")[0] for line in lines if not line.startswith(" ")] == list(catalogue.names())


def test_the_declaration_of_a_listed_dataset_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list", "movielens-32m"]) == 0
    assert parse(capsys.readouterr().out.encode()) == catalogue.declarations()["movielens-20m"]
    assert main(["data", "list", "movielns"]) == 2
    assert "did you mean movielens-1m?" in capsys.readouterr().err


def test_owners_addresses_are_secure_or_have_a_checksum() -> None:
    for one in map(catalogue.offer, catalogue.names()):
        for found in one.download:
            assert found.url.startswith("https://") or found.sha256, found.url
            assert bool(found.members) == found.url.endswith((".zip", ".tar.gz")), found.url

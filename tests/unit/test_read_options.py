"""What a person declares about a file is how it is read: delimiter, names, header, encoding and quotes."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from lodestar.data.readers.options import ReadOptions
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source
from lodestar.errors import ConfigError, DataError

WANTED = ("user", "item", "2", "3")


def source(folder: Path, content: bytes | str, name: str = "log.csv", **options: Any) -> Source:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path, WANTED, ReadOptions(**options))


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("user::item\nu1::a:b\nu2::c\n", {}),
        ("u1::a:b\nu2::c\n", {"columns": ("user", "item")}),
        ("u1::a:b\nu2::c\n", {"columns": ("user", "item"), "delimiter": "::"}),
        ("theirs,named\nu1,a:b\nu2,c\n", {"columns": ("user", "item"), "header": True}),
        ("user¦item\nu1¦a:b\nu2¦c\n", {"delimiter": "¦"}),
        ("user->item\nu1->a:b\nu2->c\n", {"delimiter": "->"}),
        ("user\x01item\nu1\x01a:b\nu2\x01c\n", {}),
        ("user item\nu1 a:b\nu2 c\n", {"delimiter": " "}),
        ("user,item\n'u1','a:b'\nu2,c\n", {"quoting": "'"}),
    ],
)
def test_delimiter_names_and_header_are_those_declared_or_the_files(content: str, options: dict[str, Any], tmp_path: Path) -> None:
    for name, packed in (("log.csv", content.encode()), ("log.dat", content.encode()), ("log.csv.gz", gzip.compress(content.encode()))):
        if name.endswith(".dat"):
            options = {**options, "format": "csv"}
        assert source(tmp_path, packed, name, **options).read().to_pylist() == [{"user": "u1", "item": "a:b"}, {"user": "u2", "item": "c"}]


def test_columns_without_a_header_are_numbered(tmp_path: Path) -> None:
    found = source(tmp_path, "u1,a,b\nu2,c,d\n", header=False)
    assert found.names == ("1", "2", "3")
    assert found.read().to_pylist() == [{"2": "a", "3": "b"}, {"2": "c", "3": "d"}]
    assert list(found.lines([0, 1])) == [1, 2]


@pytest.mark.parametrize(
    ("encoding", "text"), [("latin1", "Zoë"), ("cp1252", "“Zoë” – €"), ("utf-16", "東"), ("utf-16-le", "東"), ("shift_jis", "東")]
)
def test_text_of_a_declared_encoding(encoding: str, text: str, tmp_path: Path) -> None:
    found = source(tmp_path, f"user,item\nu1,{text}\nu2\n{text},a\n".encode(encoding), encoding=encoding)
    assert found.read().to_pylist() == [{"user": "u1", "item": text}, {"user": text, "item": "a"}]
    assert [(one.line, one.text) for one in found.malformed()] == [(3, "u2")]
    assert list(found.lines([0, 1])) == [2, 4]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_wide_text_without_a_mark_is_read_in_the_order_of_its_zeros(encoding: str, order: str, tmp_path: Path) -> None:
    found = source(tmp_path, "user,item\nu1,東\n".encode(f"{encoding}-{order}"), encoding=encoding)
    assert found.read().to_pylist() == [{"user": "u1", "item": "東"}]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding_whatever_is_declared(encoding: str, tmp_path: Path) -> None:
    content = "user,item\nu1,東\n".encode(encoding)
    for options in ({}, {"encoding": "utf-8"}, {"encoding": "latin1"}):
        assert source(tmp_path, content, **options).read().to_pylist() == [{"user": "u1", "item": "東"}]
    first = source(tmp_path, '"u1",東\n'.encode(encoding), columns=("user", "item"))
    assert first.read().to_pylist() == [{"user": "u1", "item": "東"}]
    assert list(first.lines([0])) == [1]


@pytest.mark.parametrize(("encoding", "content"), [("ascii", b"user\nZo\xeb\n"), ("utf-16-le", b"u\0s\0e\0r\0\n\0\xd8\xd8\n\0")])
def test_text_that_is_not_of_the_declared_encoding_is_refused(encoding: str, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E104 log\.csv, line 2"):
        source(tmp_path, content, encoding=encoding).read()


def test_quotes_are_text_where_declared_so(tmp_path: Path) -> None:
    content = 'user\titem\nu1\t"open\nu2\tclosed"\nu3\t"both"\n'
    found = source(tmp_path, content, quoting="none").read()
    assert found["item"].to_pylist() == ['"open', 'closed"', '"both"']


def test_a_backslash_before_a_quote_within_quotes(tmp_path: Path) -> None:
    found = source(tmp_path, 'user,item\nu1,"say \\"a, b\\""\nu2,"c"\n', quoting="backslash")
    assert found.read()["item"].to_pylist() == ['say "a, b"', "c"]
    assert list(found.malformed()) == []


def test_a_long_delimiter_within_quotes_is_text(tmp_path: Path) -> None:
    found = source(tmp_path, 'user::item\nu1::"a::b\x1f"\n"x\ny"::c\nu3\n', delimiter="::")
    assert found.read().to_pylist() == [{"user": "u1", "item": "a::b\x1f"}, {"user": "x\ny", "item": "c"}]
    assert [(one.line, one.text) for one in found.malformed()] == [(5, "u3")]
    assert list(found.lines([0, 1])) == [2, 3]


def test_a_long_delimiter_is_found_wherever_a_chunk_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"u{number}:::i{number}" for number in range(40)]
    for chunk_bytes in range(1, 9):
        monkeypatch.setattr("lodestar.data.readers.decompression.CHUNK_BYTES", chunk_bytes)
        found = source(tmp_path, "\n".join(rows), columns=("user", "item"), delimiter=":::")
        assert found.read().to_pylist() == [{"user": f"u{number}", "item": f"i{number}"} for number in range(40)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "cvs"}, "format: there is no format 'cvs'; did you mean csv"),
        ({"delimiter": "\n"}, "delimiter"),
        ({"delimiter": "123456789"}, "delimiter"),
        ({"columns": ("a", "b", "a")}, "columns: 'a' is named twice"),
        ({"quoting": "no"}, "quoting"),
        ({"quoting": "|", "delimiter": "|"}, "delimiter as well"),
        ({"encoding": "latin-11"}, "encoding: 'latin-11'"),
        ({"encoding": "base64"}, "encoding: 'base64'"),
        ({"encoding": "unicode_escape"}, "encoding"),
        ({"encoding": "a\0b"}, "encoding"),
    ],
)
def test_an_option_of_another_form_is_a_coded_error(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"E178 .*{said}"):
        ReadOptions(**options)

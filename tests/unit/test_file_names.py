"""A name that leads out of its folder, cannot be a file's or is another's too is refused; links are not followed."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from lodestar.io.safe_paths import below, existing_below

REFUSED = (
    "", "/", "/etc/passwd", "..", "a/../b", "a/./b", "a//b", "a/", "C:", "c:\\x", "a/C:b", "a\\b", "a\0b", "a\nb", "a\x7fb", "\ud800",
    "n" * 256, "ä" * 128, "/".join(["deep"] * 1000),
)  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_is_no_file_below_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="E560"):
        below(tmp_path, [name], "the bucket")


@pytest.mark.parametrize("names", [("a", "A"), ("é", "e\u0301"), ("ß", "SS"), ("a", "a/b"), ("a/b/c", "A"), ("x/a", "X/A")])
def test_two_names_of_one_file_are_refused(names: tuple[str, str], tmp_path: Path) -> None:
    for order in (names, names[::-1]):
        with pytest.raises(EnvironmentFault, match="E561"):
            below(tmp_path, order, "the bucket")


@given(st.text(max_size=30))
def test_a_name_is_refused_or_lies_below_its_folder_as_it_is(name: str) -> None:
    root = Path("/some/folder")
    try:
        path = below(root, [name], "the bucket")[name]
    except EnvironmentFault:
        return
    assert os.path.normpath(path) == f"{root}/{name}"


def test_names_as_they_are_in_use_are_accepted(tmp_path: Path) -> None:
    names = ["part-2026-01-01T00:00:00.json", "date=2026-01-01/part 1.csv", "ärzte/…", ".hidden", "a/..b/c...", "x.tar.gz"]
    assert below(tmp_path, names, "the bucket") == {name: tmp_path / name for name in names}


def test_a_link_out_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    root.mkdir()
    secret.write_text("not ours to give away")
    (root / "link").symlink_to(secret)
    with pytest.raises(EnvironmentFault, match="E562"):
        existing_below(root, "link", "the manifest")
    with pytest.raises(EnvironmentFault, match="E562"):
        storage.digest(root)
    with pytest.raises(EnvironmentFault, match="E562"):
        storage.upload(root, "s3://nowhere/x")

"""What a bucket calls its files never leads out of the folder that they are downloaded to, and no two become one."""

import hashlib
from pathlib import Path

import boto3
import pytest

from lodestar.errors import EnvironmentFault
from lodestar.io import storage

HOSTILE = {
    "parent": ("../../escaped", "E560"),
    "absolute": ("/{root}/escaped", "E560"),
    "drive": ("C:/escaped", "E560"),
    "backslash": ("..\\escaped", "E560"),
    "long": ("n" * 256, "E560"),
    "case": ("GOOD", "E561"),
    "folder": ("good/deep", "E561"),
}


def hostile(bucket: str, name: str, tmp_path: Path) -> str:
    """An address with a good object and one whose key is not."""
    key = HOSTILE[name][0].format(root=str(tmp_path).lstrip("/"))
    address = f"{bucket}/hostile-{name}"
    for named in ("good", key):
        boto3.client("s3").put_object(Bucket="models", Key=f"hostile-{name}/{named}", Body=b"content")
    return address


@pytest.mark.parametrize("name", HOSTILE)
def test_a_key_that_is_no_file_below_the_folder_is_refused_and_nothing_written(bucket: str, name: str, tmp_path: Path) -> None:
    address, target = hostile(bucket, name, tmp_path), tmp_path / "one" / "two" / "target"
    target.parent.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(EnvironmentFault, match=HOSTILE[name][1]):
        storage.fetch(address, target.parent)
    with pytest.raises(EnvironmentFault, match=HOSTILE[name][1]):
        storage.download(address, target, digest=hashlib.sha256(b"whatever").hexdigest())
    assert sorted(tmp_path.rglob("*")) == before


def test_an_address_does_not_lead_out_of_the_folder_either(bucket: str, tmp_path: Path) -> None:
    boto3.client("s3").put_object(Bucket="models", Key="up/..", Body=b"content")
    (tmp_path / "inner").mkdir()
    with pytest.raises(EnvironmentFault, match="E560"):
        storage.fetch(f"{bucket}/up/..", tmp_path / "inner")


def test_a_console_s_mark_of_a_folder_is_no_file(bucket: str, tmp_path: Path) -> None:
    for key, content in (("marked/", b""), ("marked/deep/", b""), ("marked/deep/a.csv", b"1")):
        boto3.client("s3").put_object(Bucket="models", Key=key, Body=content)
    found = storage.fetch(f"{bucket}/marked", tmp_path)
    assert [file.relative_to(found).as_posix() for file in found.rglob("*") if file.is_file()] == ["deep/a.csv"]

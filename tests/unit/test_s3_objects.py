"""Objects that a store encrypts by a key of its own have no checksum: what lies here is current only if it has just been downloaded."""

import io
from pathlib import Path
from typing import Any

import pytest

from lodestar.io.s3_objects import Location, fetch_object


class EncryptingStore:
    """One object under KMS, whose ETag is no MD5."""

    def __init__(self, content: bytes) -> None:
        self.content, self.downloads = content, 0

    def head_object(self, **_: object) -> dict[str, Any]:
        return {"ContentLength": len(self.content), "ETag": f'"{hash(self.content):x}"', "ServerSideEncryption": "aws:kms"}

    def get_object(self, **_: object) -> dict[str, Any]:
        from botocore.response import StreamingBody

        self.downloads += 1
        return {"Body": StreamingBody(io.BytesIO(self.content), len(self.content))}


@pytest.mark.parametrize("content", [b"new", b"old"])
def test_a_file_of_the_same_size_is_no_copy_of_an_encrypted_object(tmp_path: Path, content: bytes) -> None:
    store: Any = EncryptingStore(content)
    (tmp_path / "a").write_bytes(b"old")
    fetch_object(Location(client=store, bucket="b", prefix="a"), tmp_path / "a")
    assert ((tmp_path / "a").read_bytes(), store.downloads) == (content, 1)

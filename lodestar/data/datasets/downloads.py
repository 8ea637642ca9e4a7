"""Download public datasets that must not be redistributed, from their owners, once a person has agreed to the terms."""

import hashlib
import http.client
import json
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lodestar.data.datasets import catalogue
from lodestar.data.declaration.about import Download
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.io import storage
from lodestar.io.download import BLOCK_BYTES, download_resumable
from lodestar.io.safe_paths import below

TIMEOUT_S = 30
RECORD = ".download.json"
ZIP, TARS = ".zip", (".tar.gz", ".tgz")


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """A file that was downloaded: address, size, SHA-256, and whether that is the one that was expected."""

    url: str
    bytes: int
    sha256: str
    is_verified: bool


def fetch(name: str, target: Path, url: str = "") -> list[Arrived]:
    """Download a dataset into a folder, published at once; `url` is a mirror of its one file. An interrupted download resumes.

    A size or a checksum is expected where the declaration has it; what came is recorded in the folder's RECORD. UsageError for a dataset
    that its owners give out by hand only, E301 where `target` is something else than the dataset. EnvironmentFault E511 for an archive with
    another SHA-256 or without a file that is expected, E514 or E515 for a failed download, E560 to E562 for an unsafe member.
    """
    downloads = catalogue.offer(name).download
    if not downloads:
        raise UsageError(f"{name} is available from its owners only")
    if url and len(downloads) > 1:
        raise UsageError(f"{name} has {len(downloads)} files, and --url names one; leave it out")
    storage.refuse_other_folder(target, _names(downloads[0])[0])
    files = [(one, *_download(one, target, place, url or one.url)) for place, one in enumerate(downloads)]
    with storage.publish_folder(target) as folder:
        for download, file, _ in files:
            _unpack(download, file, folder)
        record = [asdict(arrived) for _, _, arrived in files]
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    for _, file, _ in files:
        file.unlink(missing_ok=True)
    return [arrived for _, _, arrived in files]


def _names(download: Download) -> list[str]:
    """The names of the files that are kept."""
    return [PurePosixPath(path).name for path in download.members or (download.url,)]


def _download(download: Download, target: Path, place: int, url: str) -> tuple[Path, Arrived]:
    """Download one file beside the folder; EnvironmentFault E511 where it has another SHA-256 than is expected."""
    suffix = next((one for one in (ZIP, *TARS) if download.url.endswith(one)), "")
    file = target.with_name(f".{target.name}{place or ''}{suffix}")
    size, version = (download.bytes, "") if download.bytes else _size_of(url)
    download_resumable(file, size=size, tag=download.sha256 or f"{url} {size} {version}", read=lambda start: _read_range(url, start))
    with file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    if download.sha256 and sha256 != download.sha256:
        file.unlink()
        raise EnvironmentFault("E511", f"{url} is not the expected archive (SHA-256)", remedy="Download it from its owners.")
    return file, Arrived(url=url, bytes=size, sha256=sha256, is_verified=bool(download.sha256))


def _unpack(download: Download, file: Path, folder: Path) -> None:
    """Write the members that are kept, or the file itself."""
    if not download.members:
        shutil.copyfile(file, below(folder, _names(download), download.url)[_names(download)[0]])
        return
    paths = _paths(download, folder)
    opened = _zip_members if file.name.endswith(ZIP) else _tar_members
    missing = set(paths)
    try:
        for member, packed in opened(file, download):
            with paths[member].open("wb") as plain:
                shutil.copyfileobj(packed, plain, BLOCK_BYTES)
            missing.discard(member)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        file.unlink()
        raise EnvironmentFault("E511", f"{download.url} is no archive ({error})", remedy="Download it from its owners.") from error
    if missing:
        message = f"{download.url} is not the expected archive: it has no {', '.join(sorted(missing))}"
        raise EnvironmentFault("E511", message, remedy="Download it from its owners, and unpack it by hand.")


def _paths(download: Download, folder: Path) -> Mapping[str, Path]:
    """The path of each member; EnvironmentFault E560 or E561 where one is no file below the folder."""
    files = below(folder, _names(download), download.url)
    return {member: files[PurePosixPath(member).name] for member in download.members}


def _zip_members(file: Path, download: Download) -> Iterator[tuple[str, IO[bytes]]]:
    """The members that are kept of a zip archive; EnvironmentFault E562 for a symbolic link."""
    with zipfile.ZipFile(file) as archive:
        present = set(archive.namelist())
        for member in (one for one in download.members if one in present):
            if stat.S_ISLNK(archive.getinfo(member).external_attr >> 16):
                raise _link(member, download)
            with archive.open(member) as packed:
                yield member, packed


def _tar_members(file: Path, download: Download) -> Iterator[tuple[str, IO[bytes]]]:
    """The members that are kept of a packed tar archive; EnvironmentFault E562 for what is no plain file."""
    with tarfile.open(file, "r:gz") as archive:
        for member in archive:
            if member.name in download.members:
                packed = archive.extractfile(member) if member.isreg() else None
                if packed is None:
                    raise _link(member.name, download)
                yield member.name, packed


def _link(member: str, download: Download) -> EnvironmentFault:
    return EnvironmentFault("E562", f"{member} of {download.url} is a symbolic link", remedy="Download the files from their owners.")


def _size_of(url: str) -> tuple[int, str]:
    """The size of a file at a URL, and its version as the server has it; EnvironmentFault E515 where the server does not say its size."""
    with _opened(urllib.request.Request(url, method="HEAD")) as response:  # noqa: S310  # the command line or a declaration names it
        size = response.headers.get("Content-Length")
        version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    if size is None:
        raise EnvironmentFault("E515", f"{url} has no size", remedy="Download it by hand, from its owners.")
    return int(size), version


def _read_range(url: str, start: int) -> Iterator[bytes]:
    """Bytes of a URL from offset `start`; skips the first ones of a server that ignores ranges."""
    with _opened(urllib.request.Request(url, headers={"Range": f"bytes={start}-"})) as response:  # noqa: S310  # as above
        skip = 0 if response.status == HTTPStatus.PARTIAL_CONTENT else start
        while block := response.read(BLOCK_BYTES):
            yield block[skip:]
            skip = max(0, skip - len(block))


@contextmanager
def _opened(request: urllib.request.Request) -> Iterator[Any]:
    """The response to a request; EnvironmentFault E515 for another status than success, OSError where the connection fails."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            yield response
    except urllib.error.HTTPError as error:
        message = f"{request.full_url} returned {error.code} {error.reason}"
        raise EnvironmentFault("E515", message, remedy="Check whether it has moved; give --url.") from error
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__} {error}") from error


def unverified(arrived: Sequence[Arrived]) -> str:
    """A sentence on the files whose checksum is not known, empty where there are none."""
    found = [f"{one.url}: {one.bytes:,} bytes, SHA-256 {one.sha256}" for one in arrived if not one.is_verified]
    return f"No checksum is known of these files; what came is recorded in {RECORD}:\n" + "\n".join(found) if found else ""

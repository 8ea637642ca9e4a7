"""Download public data sets that must not be redistributed, from their owners, once a person has agreed to the terms."""

import hashlib
import http.client
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from lodestar.io.download import BLOCK_BYTES, download_resumable
from lodestar.io.safe_paths import below

TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True)
class DownloadableDataset:
    """A zip archive that can be downloaded: URL, size in bytes, SHA-256, members to keep, terms of use and citation."""

    url: str
    size: int
    sha256: str
    members: tuple[str, ...]
    terms: str
    citation: str


@dataclass(frozen=True, kw_only=True)
class ManualDataset:
    """A data set that must be downloaded by hand: its page, terms of use, and the layout of its files that the readers expect."""

    page: str
    terms: str
    files: str


ONLINE: Mapping[str, DownloadableDataset] = {
    "movielens-100k": DownloadableDataset(
        url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        size=4_924_029,
        sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        members=tuple(f"ml-100k/{name}" for name in ("README", "u.data", "u.genre", "u.item", "u.user")),
        terms="For research; not to be passed on without permission, nor used for revenue without permission of GroupLens.",
        citation="F. M. Harper and J. A. Konstan: The MovieLens Datasets: History and Context. ACM TiiS 5 (4), 2015.",
    ),
}
BY_HAND: Mapping[str, ManualDataset] = {
    "open-bandit": ManualDataset(
        page="https://research.zozo.com/data.html",
        terms="CC BY 4.0.",
        files="a folder for each policy, `random` and `bts`, with impressions.csv and item_context.csv",
    ),
    "home-depot": ManualDataset(
        page="https://www.kaggle.com/c/home-depot-product-search-relevance/data",
        terms="The rules of the competition; an account is needed.",
        files="query_title_relevance.csv with the query, the product's title and the relevance",
    ),
    "assistments-2009": ManualDataset(
        page="https://sites.google.com/site/assistmentsdata",
        terms="For research; not to be passed on.",
        files="fold*.csv with a learner a row, problems.json and skill.json",
    ),
}


def fetch(dataset: DownloadableDataset, target: Path, url: str = "") -> None:
    """Download an archive and publish a folder of its members; `url` is a mirror. An interrupted download resumes at the next call.

    EnvironmentFault E511 for an archive with another SHA-256, E514 or E515 for a failed download, E560 to E562 for an unsafe member.
    UsageError E301 where `target` is something else than the data set.
    """
    storage.refuse_other_folder(target, PurePosixPath(dataset.members[0]).name)
    archive = target.with_name(f".{target.name}.zip")
    download_resumable(archive, size=dataset.size, tag=dataset.sha256, read=lambda start: _read_range(url or dataset.url, start))
    with archive.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != dataset.sha256:
            archive.unlink()
            raise EnvironmentFault(
                "E511", f"{url or dataset.url} is not the expected archive (SHA-256)", remedy="Download it from its owners."
            )
    with storage.publish_folder(target) as folder, zipfile.ZipFile(archive) as members:
        for member, file in _files(members, dataset, folder).items():
            with members.open(member) as packed, file.open("wb") as plain:
                shutil.copyfileobj(packed, plain, BLOCK_BYTES)
    archive.unlink()


def _files(archive: zipfile.ZipFile, dataset: DownloadableDataset, folder: Path) -> dict[str, Path]:
    """The path of each member; EnvironmentFault E560 to E562 where one is not a plain file below the folder."""
    names = {PurePosixPath(member).name: member for member in dataset.members}
    for member in dataset.members:
        if stat.S_ISLNK(archive.getinfo(member).external_attr >> 16):
            raise EnvironmentFault("E562", f"{member} of {dataset.url} is a symbolic link", remedy="Download the files from their owners.")
    return {names[name]: file for name, file in below(folder, names, dataset.url).items()}


def _read_range(url: str, start: int) -> Iterator[bytes]:
    """Bytes of a URL from offset `start`; skips the first ones of a server that ignores ranges."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"})  # noqa: S310  # the command line or this file names it
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            skip = 0 if response.status == HTTPStatus.PARTIAL_CONTENT else start
            while block := response.read(BLOCK_BYTES):
                yield block[skip:]
                skip = max(0, skip - len(block))
    except urllib.error.HTTPError as error:
        raise EnvironmentFault(
            "E515", f"{url} returned {error.code} {error.reason}", remedy="Check whether it has moved; give --url."
        ) from error
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__} {error}") from error

"""Public data sets that may be used and not passed on: brought from where their owners keep them, once a person has agreed to the terms."""

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

from lodestar import storage
from lodestar.download import BLOCK_BYTES, bring
from lodestar.errors import EnvironmentFault
from lodestar.file_names import below

TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True)
class Online:
    """An archive: where it is, how long, its SHA-256, the members that are kept, and what its owners ask of who uses it."""

    url: str
    size: int
    sha256: str
    members: tuple[str, ...]
    terms: str
    cite: str


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """A set that its owners give to who asks for it on their page, and how its files must lie to be known."""

    page: str
    terms: str
    files: str


ONLINE: Mapping[str, Online] = {
    "movielens-100k": Online(
        url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        size=4_924_029,
        sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        members=tuple(f"ml-100k/{name}" for name in ("README", "u.data", "u.genre", "u.item", "u.user")),
        terms="For research; not to be passed on without permission, nor used for revenue without permission of GroupLens.",
        cite="F. M. Harper and J. A. Konstan: The MovieLens Datasets: History and Context. ACM TiiS 5 (4), 2015.",
    ),
}
BY_HAND: Mapping[str, ByHand] = {
    "open-bandit": ByHand(
        page="https://research.zozo.com/data.html",
        terms="CC BY 4.0.",
        files="a folder for each policy, `random` and `bts`, with impressions.csv and item_context.csv",
    ),
    "home-depot": ByHand(
        page="https://www.kaggle.com/c/home-depot-product-search-relevance/data",
        terms="The rules of the competition; an account is needed.",
        files="query_title_relevance.csv with the query, the product's title and the relevance",
    ),
    "assistments-2009": ByHand(
        page="https://sites.google.com/site/assistmentsdata",
        terms="For research; not to be passed on.",
        files="fold*.csv with a learner a row, problems.json and skill.json",
    ),
}


def fetch(found: Online, target: Path, url: str = "") -> None:
    """Publish a folder of the members; EnvironmentFault E511 where the archive is another, E514 or E515 where it does not come.

    `url` is a mirror. What has come stays beside the folder until all has, and the next call goes on there.
    """
    archive = target.with_name(f".{target.name}.zip")
    bring(archive, size=found.size, tag=found.sha256, read=lambda start: _from(url or found.url, start))
    with archive.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != found.sha256:
            archive.unlink()
            raise EnvironmentFault("E511", f"{url or found.url} is not the archive that is known", remedy="Take it from its owners.")
    with storage.publish_folder(target) as folder, zipfile.ZipFile(archive) as members:
        for member, file in _files(members, found, folder).items():
            with members.open(member) as packed, file.open("wb") as plain:
                shutil.copyfileobj(packed, plain, BLOCK_BYTES)
    archive.unlink()


def _files(archive: zipfile.ZipFile, found: Online, folder: Path) -> dict[str, Path]:
    """Where each member goes; EnvironmentFault E560 to E562 where one is no plain file below the folder."""
    names = {PurePosixPath(member).name: member for member in found.members}
    for member in found.members:
        if stat.S_ISLNK(archive.getinfo(member).external_attr >> 16):
            raise EnvironmentFault("E562", f"{member} of {found.url} is a symbolic link", remedy="Take the files from their owners.")
    return {names[name]: file for name, file in below(folder, names, found.url).items()}


def _from(url: str, start: int) -> Iterator[bytes]:
    """An archive's bytes from a place on; a server that gives all of them every time is read past what is there."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"})  # noqa: S310  # the command line or this file names it
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            skip = 0 if answer.status == HTTPStatus.PARTIAL_CONTENT else start
            while block := answer.read(BLOCK_BYTES):
                yield block[skip:]
                skip = max(0, skip - len(block))
    except urllib.error.HTTPError as error:
        raise EnvironmentFault("E515", f"{url} says {error.code} {error.reason}", remedy="See whether it has moved; give --url.") from error
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__} {error}") from error

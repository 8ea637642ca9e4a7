"""What the kill drill publishes: tables, features, folders, releases, versions in a bucket, rollouts, whole runs."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qsl

import pyarrow.parquet as pq

from lodestar import schema
from lodestar.bundle import bundle
from lodestar.config import DataConfig, Recipe
from lodestar.data import ingest
from lodestar.data.tables import manifest
from lodestar.data.tables.tables import Tables
from lodestar.errors import UsageError
from lodestar.features.batch.build import build_features
from lodestar.io import storage
from tests.contract import api_server
from tests.contract.conftest import BUCKET, generation_of
from tests.factories import small_bundle
from tests.unit.test_features import built

MODULES = [
    "components.release.release",
    "feature_repo.materialise",
    "lodestar.features.batch.build",
    "boto3",
    "serving.rollout.rollout",
    "kubernetes.client",
    "tests.drills.publication_targets",
]
RECIPE = Recipe(name="test", data=DataConfig(min_users=1, min_items=1, min_interactions=1, training_rows=200))
CONTENTS = ("old", "new")
SERVICE = "lodestar/recommend"
STARTED_AT = "2026-01-01T00:00:00Z"

Made = Callable[[Path], AbstractContextManager[Mapping[str, str]]]


@dataclass(frozen=True, kw_only=True)
class PublicationTarget:
    """Something that is published, below a folder.

    `made` prepares what goes out, and says what more the environment must name; `work` publishes one of `CONTENTS`; `read` is what is
    there, the same for the same content; `left` is what should not be there at the end. `reset` takes all away, where the old content
    cannot replace the new. `share` is of all kills.
    """

    share: int
    made: Made
    work: Callable[[Path, str], object]
    read: Callable[[Path], str]
    left: Callable[[Path], list[str]]
    reset: Callable[[Path], None] | None = None


def _beside(*names: str) -> Callable[[Path], list[str]]:
    """What lies in the folder that things are published in, but for those names."""
    return lambda root: sorted({path.name for path in (root / "out").iterdir()} - set(names))


@contextmanager
def _logs(root: Path) -> Iterator[Mapping[str, str]]:
    """Events of one user after the other."""
    for number, content in enumerate(CONTENTS):
        rows = [
            f"u{user},i{(user * 7 + step) % 9},view,2026-0{step % 2 + 1}-0{1 + step}T00:0{number}:00Z"
            for user in range(8)
            for step in range(6)
        ]
        (root / f"{content}.csv").write_text("\n".join(["user_id,item_id,event_type,event_time", *rows]) + "\n")
    yield {}


def _ingest(root: Path, content: str) -> None:
    ingest.append(str(root / f"{content}.csv"), root / "out" / "shop")


def _read_tables(root: Path) -> str:
    """Rows of all tables, whose parts must be what the manifest says."""
    found, total = Tables(root=root / "out" / "shop"), hashlib.sha256()
    named = manifest.snapshot(root / "out" / "shop")
    assert named.manifest is not None
    for part in (part for parts in named.manifest.parts.values() for part in parts):
        content = (named.folder.path / part.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == part.sha256, part
    for table in schema.TABLES.values():
        for path in found.paths(table):
            total.update(str(pq.read_table(path).to_pylist()).encode())
    return total.hexdigest()


def _left_of_tables(root: Path) -> list[str]:
    _ingest(root, "new")  # which adds nothing, and removes what was replaced
    found = manifest.read(root / "out" / "shop")
    assert found is not None
    named = {part.path for parts in found.parts.values() for part in parts}
    return [*_beside("shop")(root), *sorted({str(path.relative_to(root / "out" / "shop")) for path in root.rglob("*.parquet")} - named)]


def _reset_tables(root: Path) -> None:
    shutil.rmtree(root / "out")


@contextmanager
def _tables(root: Path) -> Iterator[Mapping[str, str]]:
    with _logs(root):
        for content in CONTENTS:
            ingest.ingest(str(root / f"{content}.csv"), root / content)
        yield {}


def _build(root: Path, content: str) -> None:
    build_features(root / content, root / "out" / "features", RECIPE)


@contextmanager
def _bundles(root: Path) -> Iterator[Mapping[str, str]]:
    """A bundle and the features that it was trained on, of each content."""
    for number, content in enumerate(CONTENTS):
        (root / content).mkdir()
        features = built(root / content, [("u0", "i1", 10), ("u0", "i2", 20), ("u1", f"i{number}", 30)])
        small_bundle(root / content / "bundle", features=generation_of(features))
    yield {}


def _publish(root: Path, content: str) -> None:
    with storage.publish_folder(root / "out" / "bundle") as work:
        shutil.copytree(root / content / "bundle", work, dirs_exist_ok=True)


def _read_folder(root: Path) -> str:
    held = storage.open_handle(root / "out" / "bundle")
    return bundle.load(held.path).digest


def _release(root: Path, content: str) -> None:
    from components.release.release import release

    release(root / content / "bundle", root / content / "features", str(root / "out"), STARTED_AT)


def _read_release(root: Path) -> str:
    """The bundle, beside the rows of its generation."""
    current = (root / "out" / "current").resolve()
    loaded = bundle.load(current / "bundle")
    rows = (current / "online" / "online.db").read_bytes()
    assert loaded.info.features.encode() in rows
    return loaded.digest


def _left_of_releases(root: Path) -> list[str]:
    releases = root / "out" / "releases"
    return [*_beside("current", "releases")(root), *(path.name for path in releases.iterdir() if path.name.startswith("."))]


def _upload(root: Path, content: str) -> None:
    storage.upload(root / content / "bundle", _address(root))


def _address(root: Path) -> str:
    return f"s3://{BUCKET}/{root.parent.name}"


def _download(root: Path) -> str:
    target = root / "back"
    storage.download(_address(root), target)
    return bundle.load(target).digest


class _Listener(ThreadingHTTPServer):
    """Says nothing of who was killed while it was answered."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def _cluster(root: Path) -> Iterator[Mapping[str, str]]:
    """An API server whose service serves a bundle, and a kubeconfig that names it."""
    server = api_server.Server()
    server.serve(api_server.OLD)
    SERVERS[root] = server

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path, _, query = self.path.partition("?")
            answer = server.request(self.command, path, body=body.decode() or "{}", fields=parse_qsl(query))
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.data)))
            self.end_headers()
            self.wfile.write(answer.data)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer  # noqa: N815  # the names that the library calls

        def log_message(self, format: str, *args: object) -> None:
            pass

    with _Listener(("127.0.0.1", 0), Handler) as listener:
        Thread(target=listener.serve_forever, daemon=True).start()
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{listener.server_port}"}}
        users = [{"name": "u", "user": {}}]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [context],
            "clusters": [cluster],
            "users": users,
        }
        (root / "kubeconfig").write_text(json.dumps(config))
        (root / "out").mkdir()
        yield {}
        listener.shutdown()


SERVERS: dict[Path, api_server.Server] = {}


def _roll_out(root: Path, content: str) -> None:
    """Begin a canary, or take it back."""
    from kubernetes import config
    from kubernetes.config import kube_config

    from serving.rollout.rollout import promote_or_roll_back, start_canary

    # Which is read from the environment when it is imported.
    config.KUBE_CONFIG_DEFAULT_LOCATION = kube_config.KUBE_CONFIG_DEFAULT_LOCATION = str(root / "kubeconfig")
    if content == "new":
        start_canary(SERVICE, api_server.NEW)
    else:
        with suppress(UsageError):  # of which nothing is left after the one that was killed
            promote_or_roll_back(SERVICE, is_promotion=False)


def _read_shares(root: Path) -> str:
    """Which bundle gets how many of a hundred requests; every service that gets any is there, and is ready."""
    things = {path.rpartition("/")[2]: thing for path, thing in list(SERVERS[root].objects.items())}
    routes = [thing for thing in things.values() if thing["kind"] == "HTTPRoute"]
    shares = []
    for backend in (backend for route in routes for rule in route["spec"]["rules"] for backend in rule["backendRefs"]):
        if backend.get("weight", 1):
            name = backend["name"].removesuffix("-predictor")
            shares.append((things[name]["spec"]["predictor"]["model"]["storageUri"], backend.get("weight", 1)))
    assert shares
    return json.dumps(sorted(shares))


KINDS: Mapping[str, PublicationTarget] = {
    "ingest": PublicationTarget(share=60, made=_logs, work=_ingest, read=_read_tables, left=_left_of_tables, reset=_reset_tables),
    "build": PublicationTarget(
        share=60, made=_tables, work=_build, read=lambda root: storage.digest(root / "out" / "features"), left=_beside("features")
    ),
    "publish_folder": PublicationTarget(share=74, made=_bundles, work=_publish, read=_read_folder, left=_beside("bundle")),
    "publish_bucket": PublicationTarget(share=60, made=_bundles, work=_upload, read=_download, left=lambda _: []),
    "deploy": PublicationTarget(share=30, made=_cluster, work=_roll_out, read=_read_shares, left=lambda _: []),
    "release": PublicationTarget(share=10, made=_bundles, work=_release, read=_read_release, left=_left_of_releases),
}

"""Container images of the steps: one per role, tagged with a hash of the code.

So a cache keyed by the image never returns results of older code.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("lodestar", "components", "pipelines", "feature_repo", "serving", "cli")
SOURCES = {".py", ".yaml", ".toml", ".html", ".css"}  # all that packages are made of, so that a changed style changes the tag too
REGISTRY = "localhost:5000"


def image_reference(role: str, registry: str = REGISTRY) -> str:
    """Image reference of a role (features, train, serve, launcher) with this version of the code."""
    return f"{registry}/lodestar-python-{role}:{code_hash()}"


def code_hash() -> str:
    """Tag of the images: first 12 hex digits of sha256 over the packages' source files."""
    total = hashlib.sha256()
    for package in PACKAGES:
        root = _folder(package)
        for file in sorted(root.rglob("*")):
            if file.suffix in SOURCES and not _is_data(file.relative_to(root)):
                total.update(f"{package}/{file.relative_to(root).as_posix()}".encode() + b"\0" + file.read_bytes())
    return total.hexdigest()[:12]


def _is_data(file: Path) -> bool:
    return file.parts[0] == "data" and file.suffix != ".py"


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(package)
    return Path(spec.origin).parent

"""Imports between the rooms of the code, read from its syntax trees: rooms of the library, and each edge as one room."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARY = "lodestar"
EDGES = ("cli", "pipelines", "components", "serving", "feature_repo")
# What every room may import, at the bottom of the picture.
FOUNDATION = ("recipes", "config", "io", "metrics", "progress", "schema", "errors", "error_codes", "process")

Imports = Mapping[tuple[str, str], int]


@dataclass(frozen=True, kw_only=True)
class Room:
    """A room, a folder or a single file of the library: its name, number of Python files, and folders in it."""

    name: str
    num_files: int
    folders: tuple[str, ...]
    is_folder: bool = True


def rooms() -> dict[str, Room]:
    """All rooms by name: the folders and files of the library, and the edges."""
    inner = sorted(path for path in (ROOT / LIBRARY).iterdir() if path.name not in {"__init__.py", "__pycache__"} and not path.is_file())
    files = sorted(path for path in (ROOT / LIBRARY).glob("*.py") if path.name != "__init__.py")
    return {room.name: room for room in map(_room, [*inner, *files, *(ROOT / name for name in EDGES)])}


def imports() -> Imports:
    """How many files of one room import another, by importing and imported room; imports for type checking count too."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    for package in (LIBRARY, *EDGES):
        for file in sorted((ROOT / package).rglob("*.py")):
            name = _room_of(".".join(file.relative_to(ROOT).with_suffix("").parts))
            for target in sorted({_room_of(module) for module in _imported(file)} - {name, ""}):
                found[name, target] += 1
    return {edge: count for edge, count in sorted(found.items()) if edge[0]}


def levels(edges: Imports) -> dict[str, int]:
    """Level of each room: 0 imports no other, every other one lies above all that it imports. ValueError for a circle of rooms."""
    targets = _targets(edges)
    found: dict[str, int] = {}

    def level(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise ValueError(f"rooms import each other: {' -> '.join((*above, name))}")
        if name not in found:
            found[name] = max((level(target, (*above, name)) + 1 for target in targets[name]), default=0)
        return found[name]

    for name in sorted({name for edge in edges for name in edge}):
        level(name, ())
    return dict(sorted(found.items()))


def reduced(edges: Imports) -> Imports:
    """Transitive reduction: without an edge whose ends are connected by a longer way."""
    targets = _targets(edges)

    def reached(name: str) -> set[str]:
        return targets[name] | {one for target in targets[name] for one in reached(target)}

    return {(one, other): count for (one, other), count in edges.items() if not any(other in reached(via) for via in targets[one])}


def _targets(edges: Imports) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for one, other in edges:
        found[one].add(other)
    return found


def _room(path: Path) -> Room:
    files = list(path.rglob("*.py")) if path.is_dir() else [path]
    folders = sorted({file.parent.name for file in files if file.parent.parent == path})
    return Room(name=path.stem, num_files=len(files), folders=tuple(folders), is_folder=path.is_dir())


def _room_of(module: str) -> str:
    """The room of a dotted module; "" for one that is not ours, or the library's own `__init__`."""
    first, *rest = module.split(".")
    if first in EDGES:
        return first
    name = rest[0] if first == LIBRARY and rest else ""
    return name if name and ((ROOT / LIBRARY / name).is_dir() or (ROOT / LIBRARY / f"{name}.py").is_file()) else ""


def _imported(file: Path) -> Iterator[str]:
    """Dotted names of the modules and names that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)

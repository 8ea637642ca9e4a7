"""Which tables a feature generation was built from: the build notes their digest beside it, and by that they are found again."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lodestar.data.tables import Tables
from lodestar.errors import DataError, EnvironmentFault
from lodestar.features.store import generation_of
from lodestar.schema.places import BUILT_FROM


def write(folder: Path, tables: Tables) -> None:
    """Note in a folder of features the digest of the tables that it is built from."""
    (folder / BUILT_FROM).write_text(tables.digest())


def find(generations: Iterable[str], features: Sequence[Path], tables: Sequence[Path], otherwise: Path | None = None) -> dict[str, Path]:
    """For each generation the folder among `tables` that it was built from, as the generation's folder among `features` notes it.

    `otherwise` is for a generation whose tables are not among them; without it EnvironmentFault E575: no others are taken for them.
    """
    wanted, folder_of = set(generations), dict(_digests(tables))
    noted: dict[str, list[str]] = {generation: [] for generation in sorted(wanted)}
    for folder in features:
        if (folder / BUILT_FROM).is_file() and (generation := generation_of(folder)) in wanted:
            noted[generation].append((folder / BUILT_FROM).read_text())
    found = {
        generation: next((folder_of[digest] for digest in digests if digest in folder_of), otherwise)
        for generation, digests in noted.items()
    }
    if gone := [generation for generation, folder in found.items() if folder is None]:
        raise _gone(gone, is_noted=all(noted[generation] for generation in gone), num_folders=len(tables))
    return {generation: folder for generation, folder in found.items() if folder is not None}


def _digests(tables: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Of the folders that can be read; an old run's may be broken, or of another contract."""
    for folder in tables:
        try:
            yield Tables(root=folder).digest(), folder
        except (DataError, EnvironmentFault):
            continue


def _gone(generations: Sequence[str], *, is_noted: bool, num_folders: int) -> EnvironmentFault:
    named = ", ".join(generation or "without a name" for generation in generations)
    message = f"the tables that feature generation {named} was built from are in none of {num_folders} folders"
    if not is_noted:
        message += ", and no features at hand note which they were"
    remedy = "Add `--tables PATH`, once, with what it was built from or what has grown from that; or a shorter `--last TIME`."
    return EnvironmentFault("E575", message, remedy=remedy)

"""Lineage of features: the build records the digest of its tables, by which the tables of a feature generation are found again."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError, EnvironmentFault
from lodestar.features.batch.feature_set import generation_of
from lodestar.schema.store_keys import BUILT_FROM


def write(folder: Path, tables: Tables) -> None:
    """Record the digest of the tables in the folder of features that is built from them."""
    (folder / BUILT_FROM).write_text(tables.digest())


def find_tables(
    generations: Iterable[str], features: Sequence[Path], tables: Sequence[Path], otherwise: Path | None = None
) -> dict[str, Path]:
    """Find the folder among `tables` that each generation was built from, by the digest recorded in its folder among `features`.

    A generation without one gets `otherwise`, or EnvironmentFault E575 if that is None: other tables would report false skew.
    """
    requested, folder_of = set(generations), dict(_digests(tables))
    recorded: dict[str, list[str]] = {generation: [] for generation in sorted(requested)}
    for folder in features:
        if (folder / BUILT_FROM).is_file() and (generation := generation_of(folder)) in requested:
            recorded[generation].append((folder / BUILT_FROM).read_text())
    found = {
        generation: next((folder_of[digest] for digest in digests if digest in folder_of), otherwise)
        for generation, digests in recorded.items()
    }
    if missing := [generation for generation, folder in found.items() if folder is None]:
        raise _missing_error(missing, is_recorded=all(recorded[generation] for generation in missing), num_folders=len(tables))
    return {generation: folder for generation, folder in found.items() if folder is not None}


def _digests(tables: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Digest and path of each readable folder of tables; one of an old run may be damaged, or of another contract."""
    for folder in tables:
        try:
            yield Tables(root=folder).digest(), folder
        except (DataError, EnvironmentFault):
            continue


def _missing_error(generations: Sequence[str], *, is_recorded: bool, num_folders: int) -> EnvironmentFault:
    names = ", ".join(generation or "without a name" for generation in generations)
    message = f"the tables that feature generation {names} was built from are in none of {num_folders} folders"
    if not is_recorded:
        message += ", and no given features record which they were"
    remedy = "Add `--tables PATH`, once, with the tables it was built from, or those after further appends; or a shorter `--last TIME`."
    return EnvironmentFault("E575", message, remedy=remedy)

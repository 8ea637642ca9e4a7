"""The dataset of a declaration: read as the declaration says, or by the code that it names."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from lodestar.data.dataset import DataSet
from lodestar.data.datasets import assistments, netflix, open_bandit
from lodestar.data.declaration.declared_dataset import open_declared
from lodestar.data.declaration.model import Declaration
from lodestar.data.declaration.parse import KEYS, feedback_of
from lodestar.errors import DataError, Location
from lodestar.process.suggestions import unknown_name

# Code that finds and reads a dataset in its folder, None where it is not there: what no declaration can say (docs/decisions/0023).
READERS: Mapping[str, Callable[[Path], DataSet | None]] = {
    "assistments-2009": assistments.find,
    "netflix-prize": netflix.find,
    "open-bandit": open_bandit.find,
}


def open_dataset(declaration: Declaration, root: Path, file: str, is_ingested: Callable[[Path], bool] = lambda _: False) -> DataSet:
    """The dataset that a declaration, from the file called `file`, makes of the files below the folder `root`.

    Files for which `is_ingested` holds are skipped; of a dataset that code reads, only all at once. DataError E141 for a reader that is not
    known, E142 where a name or wildcard matches no file, or the reader finds none of its own.
    """
    if not declaration.reader:
        return open_declared(declaration, root, file, is_ingested)
    if declaration.reader not in READERS:
        message = unknown_name("reader: there is no reader", declaration.reader, READERS)
        raise DataError("E141", message, remedy=KEYS, place=Location(file=file))
    dataset = READERS[declaration.reader](root)
    if dataset is None:
        remedy = f"`lodestar data list {declaration.reader}` says which files there must be."
        raise DataError("E142", f"the folder has no files of {declaration.reader}", remedy=remedy, place=Location(file=file))
    tables = {} if all(is_ingested(path) for path in dataset.paths) else dataset.tables
    return replace(dataset, tables=tables, feedback=feedback_of(declaration))

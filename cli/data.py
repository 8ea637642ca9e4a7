"""`lodestar data`: validate, profile, ingest and download data."""

import argparse
import sys
from pathlib import Path

from lodestar.data.datasets.public_datasets import BY_HAND, ONLINE
from lodestar.io.private_folders import workspace
from lodestar.process.safe_text import command, write_stdout

PATH = "folder of tables, of collected part files or of a dataset; files of events (a quoted wildcard); or an s3:// address of these"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `lodestar data` with `validate`, `profile`, `ingest` and `fetch` to the command line's parsers.

    Each sets `command` to a function from parsed options to the exit code; libraries are imported when it runs.
    """
    data = commands.add_parser("data", help="validate, profile, ingest and download data", description="Validate, profile and ingest data.")
    inner = data.add_subparsers(required=True, metavar="COMMAND")
    validate = inner.add_parser(
        "validate",
        help="validate all rows, write nothing",
        description="Validate all rows as a run would, print the report, and write nothing. Exit code 3 if a row has an error.",
    )
    _add_data(validate)
    validate.set_defaults(command=_validate)
    profile = inner.add_parser(
        "profile",
        help="write a data profile (HTML)",
        description="Validate all rows as a run would, and write a page of statistics and charts: counts, time range, long tail, columns.",
    )
    _add_data(profile)
    profile.add_argument("--output", type=Path, default=Path("profile.html"), metavar="FILE", help="the page (default: %(default)s)")
    profile.set_defaults(command=_profile)
    ingest = inner.add_parser(
        "ingest",
        help="append new rows to ingested tables",
        description="Append new rows to a folder of tables, for `lodestar run --data`. Files that were ingested before are skipped, and "
        "duplicate rows are dropped and counted: running the command again, or after a crash, changes nothing more.",
    )
    _add_data(ingest)
    ingest.add_argument("--output", required=True, type=Path, metavar="TABLES", help="the folder of tables, created if missing")
    ingest.set_defaults(command=_ingest)
    fetch = inner.add_parser(
        "fetch",
        help="download a public dataset",
        description=(
            "Download a public dataset from its owners' site, checked against its checksum, into a folder that every command accepts as "
            "data. The owners' terms are shown first."
        ),
    )
    fetch.add_argument("name", metavar="NAME", choices=[*ONLINE, *BY_HAND], help=", ".join([*ONLINE, *BY_HAND]))
    fetch.add_argument("--output", type=Path, metavar="DIR", help="the folder (default: NAME)")
    fetch.add_argument("--accept-terms", action="store_true", help="agree to the terms without a prompt")
    fetch.add_argument("--url", default="", metavar="URL", help="a mirror of the same archive")
    fetch.set_defaults(command=_fetch)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", metavar="PATH", help=PATH)
    command.add_argument("--map", action="append", default=[], metavar="OURS=THEIRS", help="read column THEIRS as OURS (repeatable)")
    command.add_argument("--quarantine", action="store_true", help="quarantine rows with errors, list the first of each kind, and go on")


def _validate(options: argparse.Namespace) -> int:
    from lodestar.data.address import parse_mapping
    from lodestar.data.ingest import validate

    report = validate(options.data, mapping=parse_mapping(options.map), quarantine=options.quarantine)
    write_stdout(report.markdown())
    return 3 if any(table.offenders for table in report.tables.values()) else 0


def _profile(options: argparse.Namespace) -> int:
    from lodestar.data.address import parse_mapping
    from lodestar.data.ingest import ingest
    from lodestar.data.tables.tables import Tables
    from lodestar.evaluation.report.profile import page, profile
    from lodestar.io import storage

    with workspace() as folder:
        tables = Path(folder) / "tables"
        report = ingest(options.data, tables, mapping=parse_mapping(options.map), quarantine=options.quarantine)
        content = page(profile(Tables(root=tables), report))
    storage.put(content.encode(), str(options.output))
    write_stdout(f"{command(['open', str(options.output)])}\n")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from lodestar.data.datasets.public_datasets import fetch
    from lodestar.errors import UsageError

    if options.name in BY_HAND:
        found = BY_HAND[options.name]
        raise UsageError(
            f"{options.name} is available from its owners only, at {found.page} ({found.terms}). Put into a folder: {found.files}"
        )
    dataset, target = ONLINE[options.name], options.output or Path(options.name)
    sys.stderr.write(f"{options.name}: {dataset.terms}\nCite: {dataset.citation}\n")
    if not options.accept_terms:
        if not sys.stdin.isatty():
            raise UsageError("standard input is no terminal to agree to the terms on; add --accept-terms")
        if input("Do you agree? [y/N] ").strip().casefold() not in {"y", "yes"}:
            raise UsageError("nothing is downloaded without agreement to the terms")
    fetch(dataset, target, options.url)
    write_stdout(f"{command(['lodestar', 'run', '--data', str(target)])}\n")
    return 0


def _ingest(options: argparse.Namespace) -> int:
    from lodestar.data.address import parse_mapping
    from lodestar.data.ingest import append

    report = append(options.data, options.output, mapping=parse_mapping(options.map), quarantine=options.quarantine)
    write_stdout(report.markdown())
    return 0

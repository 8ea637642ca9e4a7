"""`lodestar data`: validate, profile, ingest and download data."""

import argparse
import sys
from pathlib import Path

from lodestar.data.datasets.public_datasets import BY_HAND, ONLINE
from lodestar.io.private_folders import workspace
from lodestar.process.command_line import Parser, add_data, add_option, add_output
from lodestar.process.option_values import local_path, web_address
from lodestar.process.safe_text import command, write_stdout

COLUMNS = "event_time=ts"


def add(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add `lodestar data` with `validate`, `profile`, `ingest` and `fetch` to the command line's parsers.

    Each sets `command` to a function from parsed options to the exit code; libraries are imported when it runs.
    """
    data = commands.add_parser(
        "data",
        help="validate, profile, ingest and download data",
        description="Validate, profile, ingest and download data.",
        examples=["lodestar data validate --data clicks.csv", "lodestar data ingest --data clicks.csv --output shop/"],
    )
    inner = data.add_subparsers(required=True, metavar="COMMAND")
    for add_command in (_add_validate, _add_profile, _add_ingest, _add_fetch):
        add_command(inner)


def _add_validate(inner: "argparse._SubParsersAction[Parser]") -> None:
    validate = inner.add_parser(
        "validate",
        help="validate all rows, write nothing",
        description="Validate all rows as a run would, print the report, and write nothing. Exit code 3 if a row has an error.",
        examples=["lodestar data validate --data clicks.csv", f"lodestar data validate --data shop/ --quarantine --map {COLUMNS}"],
    )
    add_data(validate)
    validate.set_defaults(command=_validate, doing="validating the data")


def _add_profile(inner: "argparse._SubParsersAction[Parser]") -> None:
    profile = inner.add_parser(
        "profile",
        help="write a data profile (HTML)",
        description="Validate all rows as a run would, and write a page of statistics and charts: counts, time range, long tail, columns. "
        "Prints the page's path.",
        examples=["lodestar data profile --data clicks.csv --output clicks.html"],
    )
    add_data(profile)
    add_output(profile, "HTML page", "profile.html")
    profile.set_defaults(command=_profile, doing="profiling the data")


def _add_ingest(inner: "argparse._SubParsersAction[Parser]") -> None:
    ingest = inner.add_parser(
        "ingest",
        help="append new rows to ingested tables",
        description="Append new rows to a folder of tables, for `lodestar run --data`. Files that were ingested before are skipped, and "
        "duplicate rows are dropped and counted: running the command again, or after a crash, changes nothing more.",
        examples=[
            "lodestar data ingest --data clicks.csv --output shop/",
            "lodestar data ingest --data 'exports/*.parquet' --output shop/",
        ],
    )
    add_data(ingest)
    add_output(ingest, "folder of tables, created if missing")
    ingest.set_defaults(command=_ingest, doing="ingesting the data", resumes=True)


def _add_fetch(inner: "argparse._SubParsersAction[Parser]") -> None:
    fetch = inner.add_parser(
        "fetch",
        help="download a public dataset",
        description=(
            "Download a public dataset from its owners' site, checked against its checksum, into a folder that every command accepts as "
            "data. The owners' terms are shown first. Prints the folder."
        ),
        examples=["lodestar data fetch movielens-100k --accept-terms", "lodestar data fetch movielens-100k --output ml-100k"],
    )
    fetch.add_argument("name", metavar="NAME", choices=[*ONLINE, *BY_HAND], help=f"one of {', '.join([*ONLINE, *BY_HAND])}")
    add_option(fetch, "--output", type=local_path, help="folder of the dataset (default: NAME)")
    fetch.add_argument("--accept-terms", action="store_true", help="agree to the terms without a prompt")
    fetch.add_argument(
        "--url", type=web_address, default=None, metavar="URL", help="mirror of the same archive (default: the owners' site)"
    )
    fetch.set_defaults(command=_fetch, resumes=True)


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

    storage.refuse_other_file(options.output)
    with workspace() as folder:
        tables = Tables(root=Path(folder) / "tables")
        report = ingest(options.data, tables.root, mapping=parse_mapping(options.map), quarantine=options.quarantine)
        content = page(profile(tables, report))
    storage.put(content.encode(), str(options.output))
    write_stdout(f"{options.output}\n")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from lodestar.data.datasets.public_datasets import fetch
    from lodestar.errors import UsageError

    if options.name in BY_HAND:
        found = BY_HAND[options.name]
        raise UsageError(
            f"{options.name} is available from its owners only, at {found.page} ({found.terms}). Put into a folder: {found.files}",
            code="E310",
        )
    dataset, target = ONLINE[options.name], options.output or Path(options.name)
    sys.stderr.write(f"{options.name}: {dataset.terms}\nCite: {dataset.citation}\n")
    if not options.accept_terms:
        if not sys.stdin.isatty():
            raise UsageError("standard input is no terminal to agree to the terms on; add --accept-terms", code="E311")
        if input("Do you agree? [y/N] ").strip().casefold() not in {"y", "yes"}:
            raise UsageError("nothing is downloaded without agreement to the terms", code="E311")
    fetch(dataset, target, options.url or "")
    sys.stderr.write(f"Next: {command(['lodestar', 'run', '--data', str(target)])}\n")
    write_stdout(f"{target}\n")
    return 0


def _ingest(options: argparse.Namespace) -> int:
    from lodestar.data.address import parse_mapping
    from lodestar.data.ingest import append

    report = append(options.data, options.output, mapping=parse_mapping(options.map), quarantine=options.quarantine)
    write_stdout(report.markdown())
    return 0

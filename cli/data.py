"""`lodestar data`: describe, validate, profile, ingest, list and download data."""

import argparse
import sys
from pathlib import Path

from lodestar.io.private_folders import workspace
from lodestar.process.command_line import Parser, add_data, add_option, add_output
from lodestar.process.option_values import local_path, web_address
from lodestar.process.safe_text import command, one_line, write_stderr, write_stdout
from lodestar.process.suggestions import listed

COLUMNS = "event_time=ts"


def add(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add `lodestar data` with `describe`, `validate`, `profile`, `ingest`, `list` and `fetch` to the command line's parsers.

    Each sets `command` to a function from parsed options to the exit code; libraries are imported when it runs.
    """
    data = commands.add_parser(
        "data",
        help="describe, validate, profile, ingest, list and download data",
        description="Describe, validate, profile and ingest data; list and download public datasets.",
        examples=[
            "lodestar data describe shop/ > dataset.toml",
            "lodestar data validate --data clicks.csv",
            "lodestar data ingest --data clicks.csv --output shop/",
        ],
    )
    inner = data.add_subparsers(required=True, metavar="COMMAND")
    for add_command in (_add_describe, _add_validate, _add_profile, _add_ingest, _add_list, _add_fetch):
        add_command(inner)


def _add_describe(inner: "argparse._SubParsersAction[Parser]") -> None:
    describe = inner.add_parser(
        "describe",
        help="write a declaration of other people's files",
        description="Write a declaration of files (TOML) to standard output, from a sample of their rows: what is sure, each with its "
        "reason, and what a person must decide, as lines to choose from. On standard error: ten rows of each table, as they would be "
        "understood. Redirect it to dataset.toml, edit that, and give it as --data.",
        examples=["lodestar data describe exports/", "lodestar data describe clicks.tsv --time-zone Europe/Paris"],
    )
    describe.add_argument("address", metavar="PATH", help="a file of events, a quoted wildcard of several, a folder, or an s3:// address")
    for name in ("--map", "--time-zone"):
        add_option(describe, name)
    describe.set_defaults(command=_describe, doing="describing the data")


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


def _add_list(inner: "argparse._SubParsersAction[Parser]") -> None:
    names = inner.add_parser(
        "list",
        help="list the public datasets",
        description=(
            "List the public datasets that are recognised by their files: size, licence, and what each is good for. With a name, print "
            "its declaration, which as dataset.toml beside the files says how they are read."
        ),
        examples=["lodestar data list", "lodestar data list movielens-1m"],
    )
    names.add_argument("name", nargs="?", default="", metavar="NAME", help="dataset whose declaration is printed")
    names.set_defaults(command=_list)


def _add_fetch(inner: "argparse._SubParsersAction[Parser]") -> None:
    fetch = inner.add_parser(
        "fetch",
        help="download a public dataset",
        description=(
            "Download a public dataset from its owners' site, checked against its checksum where one is known, into a folder that every "
            "command accepts as data. The owners' terms are shown first. Of a dataset that needs an account it says where to get it. "
            "Prints the folder."
        ),
        examples=["lodestar data fetch movielens-100k --accept-terms", "lodestar data fetch movielens-100k --output ml-100k"],
    )
    fetch.add_argument("name", metavar="NAME", help="one that `lodestar data list` shows")
    add_option(fetch, "--output", type=local_path, help="folder of the dataset (default: NAME)")
    fetch.add_argument("--accept-terms", action="store_true", help="agree to the terms without a prompt")
    fetch.add_argument(
        "--url", type=web_address, default=None, metavar="URL", help="mirror of the same archive (default: the owners' site)"
    )
    fetch.set_defaults(command=_fetch, resumes=True)


def _describe(options: argparse.Namespace) -> int:
    from lodestar.data.address import parse_address, parse_mapping
    from lodestar.data.describe.describe_path import describe_path, folder_of_stdout

    found = describe_path(parse_address(options.address, parse_mapping(options.map), options.time_zone), folder_of_stdout())
    sys.stdout.write(found.text)
    write_stderr(f"{found.preview}\n")
    if found.num_decisions:
        write_stderr(
            f"{found.num_decisions} things are left to decide: see the beginning of the declaration. The first answer of each is shown.\n"
        )
    return 0


def _validate(options: argparse.Namespace) -> int:
    from lodestar.data.address import given_address
    from lodestar.data.contract.findings.problems import LEFT_OUT
    from lodestar.data.ingest import validate

    report = validate(given_address(options), quarantine=options.quarantine)
    write_stdout(report.markdown())
    return 3 if any(table.offenders.keys() - LEFT_OUT for table in report.tables.values()) else 0


def _profile(options: argparse.Namespace) -> int:
    from lodestar.data.address import given_address
    from lodestar.data.ingest import ingest
    from lodestar.data.tables.tables import Tables
    from lodestar.evaluation.report.profile import page, profile
    from lodestar.io import storage

    storage.refuse_other_file(options.output)
    with workspace() as folder:
        tables = Tables(root=Path(folder) / "tables")
        report = ingest(given_address(options), tables.root, quarantine=options.quarantine)
        content = page(profile(tables, report))
        write_stderr("".join(f"{one_line(str(one))}\n" for one in report.findings))
    storage.put(content.encode(), str(options.output))
    write_stdout(f"{options.output}\n")
    return 0


def _list(options: argparse.Namespace) -> int:
    from lodestar.data.datasets import catalogue

    write_stdout(catalogue.text(options.name) if options.name else catalogue.listing())
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from lodestar.data.datasets import catalogue, downloads
    from lodestar.errors import UsageError

    found, target = catalogue.offer(options.name), options.output or Path(options.name)
    if not found.download:
        where = f"available from its owners only, at {found.url} ({found.terms.rstrip('.')})" if found.url else "a form of many datasets"
        raise UsageError(f"{found.name} is {where}. Put into a folder:\n{listed(found.files)}", code="E310")
    sys.stderr.write(f"{found.name}: {found.terms}\n" + (f"Cite: {found.citation}\n" if found.citation else ""))
    if not options.accept_terms:
        if not sys.stdin.isatty():
            raise UsageError("standard input is no terminal to agree to the terms on; add --accept-terms", code="E311")
        if input("Do you agree? [y/N] ").strip().casefold() not in {"y", "yes"}:
            raise UsageError("nothing is downloaded without agreement to the terms", code="E311")
    arrived = downloads.fetch(found.name, target, options.url or "")
    if said := downloads.unverified(arrived):
        sys.stderr.write(f"{said}\n")
    sys.stderr.write(f"Next: {command(['lodestar', 'run', '--data', str(target)])}\n")
    write_stdout(f"{target}\n")
    return 0


def _ingest(options: argparse.Namespace) -> int:
    from lodestar.data.address import given_address
    from lodestar.data.ingest import append

    report = append(given_address(options), options.output, quarantine=options.quarantine)
    write_stdout(report.markdown())
    return 0

"""`lodestar data`: bring data in, or look at them before anything is made of them."""

import argparse
import sys
from pathlib import Path

from lodestar.data.online import BY_HAND, ONLINE
from lodestar.private import workspace
from lodestar.safe_text import command, say

PATH = "folder of tables or of a collector's parts, a data set's folder, files of events (a quoted wildcard), or s3:// of those"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `lodestar data` with `validate`, `profile`, `ingest` and `fetch` to the command line's parsers.

    Each leaves in `command` the function that takes the parsed options and returns the exit code; libraries are imported when it runs.
    """
    data = commands.add_parser(
        "data", help="check data, and bring them in", description="Look at data before a run, and keep them in tables."
    )
    inner = data.add_subparsers(required=True, metavar="COMMAND")
    validate = inner.add_parser(
        "validate",
        help="read and check everything, write nothing",
        description="Read and check everything as a run would, print the report, and write nothing. Exit code 3 where a row is bad.",
    )
    _add_data(validate)
    validate.set_defaults(command=_validate)
    look = inner.add_parser(
        "profile",
        help="draw what the data look like",
        description="Read and check everything as a run would, and write a page of numbers and plots: how much there is, when, how evenly.",
    )
    _add_data(look)
    look.add_argument("--output", type=Path, default=Path("profile.html"), metavar="FILE", help="the page (default: %(default)s)")
    look.set_defaults(command=_profile)
    ingest = inner.add_parser(
        "ingest",
        help="put what is new into a folder of tables",
        description="Put what is new in the data into a folder of tables, which `lodestar run --data` takes. A file that was taken in "
        "before is skipped, a row that is there is dropped and counted; the same command again, or after a crash, changes nothing more.",
    )
    _add_data(ingest)
    ingest.add_argument("--into", required=True, type=Path, metavar="TABLES", help="the folder of tables, made if need be")
    ingest.set_defaults(command=_ingest)
    fetch = inner.add_parser(
        "fetch",
        help="bring a public data set",
        description="Bring a public data set from where its owners keep it, checked against its checksum, into a folder that every command "
        "here takes. The owners' terms are shown first.",
    )
    fetch.add_argument("name", metavar="NAME", choices=[*ONLINE, *BY_HAND], help=", ".join([*ONLINE, *BY_HAND]))
    fetch.add_argument("--into", type=Path, metavar="DIR", help="the folder (default: NAME)")
    fetch.add_argument("--accept-terms", action="store_true", help="agree to the terms without being asked")
    fetch.add_argument("--url", default="", metavar="URL", help="a mirror of the same archive")
    fetch.set_defaults(command=_fetch)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("path", metavar="PATH", help=PATH)
    command.add_argument("--map", action="append", default=[], metavar="OURS=THEIRS", help="the data call our column theirs (repeatable)")
    command.add_argument("--quarantine", action="store_true", help="go on past bad rows, and list the first of each kind")


def _validate(options: argparse.Namespace) -> int:
    from lodestar.data.address import pairs
    from lodestar.data.ingest import validate

    report = validate(options.path, mapping=pairs(options.map), quarantine=options.quarantine)
    say(report.markdown())
    return 3 if any(table.offenders for table in report.tables.values()) else 0


def _profile(options: argparse.Namespace) -> int:
    from lodestar import storage
    from lodestar.data.address import pairs
    from lodestar.data.ingest import ingest
    from lodestar.data.tables import Tables
    from lodestar.evaluation.profile import page, profile

    with workspace() as folder:
        tables = Path(folder) / "tables"
        report = ingest(options.path, tables, mapping=pairs(options.map), quarantine=options.quarantine)
        content = page(profile(Tables(root=tables), report))
    storage.put(content.encode(), str(options.output))
    say(f"{command(['open', str(options.output)])}\n")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from lodestar.data.online import fetch
    from lodestar.errors import UsageError

    if options.name in BY_HAND:
        found = BY_HAND[options.name]
        raise UsageError(
            f"{options.name} is given out by its owners alone, at {found.page} ({found.terms}). Put into a folder: {found.files}"
        )
    asked, target = ONLINE[options.name], options.into or Path(options.name)
    sys.stderr.write(f"{options.name}: {asked.terms}\nCite: {asked.cite}\n")
    if not options.accept_terms:
        if not sys.stdin.isatty():
            raise UsageError("nobody is here to agree to the terms; add --accept-terms")
        if input("Do you agree? [y/N] ").strip().casefold() not in {"y", "yes"}:
            raise UsageError("nothing is brought without agreement to the terms")
    fetch(asked, target, options.url)
    say(f"{command(['lodestar', 'run', '--data', str(target)])}\n")
    return 0


def _ingest(options: argparse.Namespace) -> int:
    from lodestar.data.address import pairs
    from lodestar.data.ingest import add

    report = add(options.path, options.into, mapping=pairs(options.map), quarantine=options.quarantine)
    say(report.markdown())
    return 0

"""`lodestar data`: look at data before anything is made of them."""

import argparse
import sys


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    data = commands.add_parser("data", help="check data, and see what would become of them", description="Look at data before a run.")
    inner = data.add_subparsers(required=True, metavar="COMMAND")
    validate = inner.add_parser(
        "validate",
        help="read and check everything, write nothing",
        description="Read and check everything as a run would, print the report, and write nothing. Exit code 3 where a row is bad.",
    )
    validate.add_argument("path", metavar="PATH", help="folder of tables, a data set's folder, one file of events, or s3:// of those")
    validate.add_argument("--map", action="append", default=[], metavar="OURS=THEIRS", help="the data call our column theirs (repeatable)")
    validate.add_argument("--quarantine", action="store_true", help="go on past bad rows, and list the first of each kind")
    validate.set_defaults(command=_validate)


def _validate(options: argparse.Namespace) -> int:
    from lodestar.data.address import pairs
    from lodestar.data.ingest import validate

    report = validate(options.path, mapping=pairs(options.map), quarantine=options.quarantine)
    sys.stdout.write(report.markdown())
    return 3 if options.quarantine and any(table.offenders for table in report.tables.values()) else 0

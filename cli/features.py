"""`lodestar features`: hold features to what they promise."""

import argparse
import sys
import tempfile
from pathlib import Path

SHOWN = 20


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    features = commands.add_parser("features", help="hold features to what they promise", description="Hold features to what they promise.")
    inner = features.add_subparsers(required=True, metavar="COMMAND")
    test = inner.add_parser(
        "leak-test",
        help="look for features that know the future",
        description=(
            "Build every feature view from all data and from what was known at sampled moments, and compare what a point-in-time join "
            "finds. Exit code 4 where a view knows what came later."
        ),
    )
    test.add_argument("data", metavar="PATH", help="what `lodestar run --data` takes")
    test.add_argument("--map", action="append", default=[], metavar="OURS=THEIRS", help="the data call our column theirs (repeatable)")
    test.add_argument("--moments", type=int, default=20, metavar="N", help="how many moments to ask about (default: %(default)s)")
    test.add_argument("--seed", type=int, default=0, metavar="N", help="which moments (default: %(default)s)")
    test.set_defaults(command=_leak_test)


def _leak_test(options: argparse.Namespace) -> int:
    from lodestar.data.address import pairs
    from lodestar.data.ingest import ingest
    from lodestar.data.tables import Tables
    from lodestar.errors import GateRefused
    from lodestar.features.leaks import hunt, sample_moments

    with tempfile.TemporaryDirectory() as folder:
        ingest(options.data, Path(folder) / "tables", mapping=pairs(options.map))
        found = Tables(root=Path(folder) / "tables")
        result = hunt(found, sample_moments(found, options.moments, options.seed))
    compared = f"{len(result.views)} views at {result.moments} moments, {result.rows:,} rows"
    if not result.leaks:
        sys.stdout.write(f"no leak: {compared} say what was known then\n")
        return 0
    sys.stdout.write("".join(f"{leak}\n" for leak in result.leaks[:SHOWN]))
    raise GateRefused(f"{len(result.leaks):,} leaks in {compared}; the first {min(SHOWN, len(result.leaks))} are listed")

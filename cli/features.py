"""`lodestar features`: hold features to what they promise."""

import argparse
import re
import sys
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path

from lodestar.private import workspace
from lodestar.safe_text import line, say, warn

DEFAULT_OUTPUT = "lodestar-run"
SHOWN, SUBMITTED = 20, "submitted"
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    meaning = "build features, and hold them to what they promise"
    features = commands.add_parser("features", help=meaning, description=f"{meaning.capitalize()}.")
    inner = features.add_subparsers(required=True, metavar="COMMAND")
    for made in (_add_build, _add_leak_test, _add_prove):
        made(inner)


def _add_build(inner: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    build = inner.add_parser(
        "build",
        help="build feature tables, here or on Spark",
        description="Write the feature tables of ingested tables, the packed interactions that training reads, and labels.",
    )
    build.add_argument("tables", type=Path, metavar="TABLES", help="what `lodestar data ingest --into` wrote")
    build.add_argument("output", type=Path, metavar="OUTPUT", help="a folder, replaced as a whole when all is there")
    build.add_argument("--recipe", default="sasrec", metavar="NAME", help="see `lodestar recipes` (default: %(default)s)")
    build.add_argument("--overrides", default="{}", metavar="JSON", help='values to replace, such as {"data": {"split": "time"}}')
    build.add_argument("--spark", default="", metavar="MASTER", help="on Spark, like local[4]; `submitted` where spark-submit runs it")
    build.set_defaults(command=_build)


def _add_leak_test(inner: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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


def _add_prove(inner: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    proof = inner.add_parser(
        "prove",
        help="hold what was served against history",
        description=(
            "Make what each answer was made from anew, from the events that were known then, and compare it to the bit. "
            "Exit code 4 where one differs: the first is named with the feature and both values."
        ),
    )
    log = f"{DEFAULT_OUTPUT}/proof.jsonl"
    meaning = f"what `lodestar serve --proof` wrote: a file, a folder or s3:// (default: {log})"
    proof.add_argument("log", nargs="?", default=log, metavar="LOG", help=meaning)
    meaning = "where tables lie that no run here has; a generation whose own are nowhere is held to these if one PATH is given (repeatable)"
    proof.add_argument("--tables", type=Path, action="append", default=[], metavar="PATH", help=meaning)
    meaning = "features of each generation served: they note which tables are theirs, and the scale of counts (default: those of all runs)"
    proof.add_argument("--features", type=Path, action="append", default=[], metavar="PATH", help=meaning)
    proof.add_argument("--last", type=_duration, default=timedelta(hours=24), metavar="TIME", help="like 90m, 24h, 7d (default: 24h)")
    proof.set_defaults(command=_prove)


def _build(options: argparse.Namespace) -> int:
    from lodestar.features import build
    from lodestar.recipes import configured

    recipe = configured(options.recipe, options.overrides)
    if options.spark:
        from lodestar.features import spark

        with spark.session("" if options.spark == SUBMITTED else options.spark) as session:
            spark.build_features(options.tables, options.output, recipe, session)
    else:
        build.build_features(options.tables, options.output, recipe)
    say(f"features are in {options.output}\n")
    return 0


def _leak_test(options: argparse.Namespace) -> int:
    from lodestar.data.address import pairs
    from lodestar.data.ingest import ingest
    from lodestar.data.tables import Tables
    from lodestar.errors import GateRefused
    from lodestar.features.leaks import hunt, sample_moments

    with workspace() as folder:
        ingest(options.data, Path(folder) / "tables", mapping=pairs(options.map))
        found = Tables(root=Path(folder) / "tables")
        result = hunt(found, sample_moments(found, options.moments, options.seed))
    compared = f"{len(result.views)} views at {result.moments} moments, {result.rows:,} rows"
    if not result.leaks:
        sys.stdout.write(f"no leak: {compared} say what was known then\n")
        return 0
    say("".join(f"{line(str(leak))}\n" for leak in result.leaks[:SHOWN]))
    raise GateRefused(f"{len(result.leaks):,} leaks in {compared}; the first {min(SHOWN, len(result.leaks))} are listed")


def _prove(options: argparse.Namespace) -> int:
    from lodestar import storage
    from lodestar.data.tables import Tables
    from lodestar.errors import GateRefused, UsageError
    from lodestar.features import skew

    with workspace() as folder:
        source = storage.fetch(options.log, Path(folder)) if storage.is_remote(options.log) else Path(options.log)
        files = sorted(source.rglob("*.jsonl")) if source.is_dir() else [source]
        if not files or not files[0].is_file():
            raise UsageError(f"there is no proof log at {options.log}; serve with --proof to write one")
        log, features = skew.read(files), options.features or _of_runs("build-features/features")
        scales = dict(map(_scale, features))
        found = _tables(log.generations(options.last), options.tables, features)
        proof = skew.prove(log, {generation: Tables(root=root) for generation, root in found.items()}, options.last, scales)
    identical = f"{proof.identical:,}/{proof.requests:,} identical"
    age = f"what was served was {_rounded(proof.median_age)} old in the median, {_rounded(proof.oldest)} at most"
    if not proof.differences:
        sys.stdout.write(f"{identical}; {age}\n")
        return 0
    say("".join(f"{line(str(difference))}\n" for difference in proof.differences[:SHOWN]))
    raise GateRefused(f"{identical}; {age}")


def _tables(generations: Collection[str], named: Sequence[Path], features: Sequence[Path]) -> dict[str, Path]:
    """For each generation the folder of the tables that it was built from, which is said; those that are named go before the runs'."""
    from lodestar.errors import UsageError
    from lodestar.features import origin

    if not (tables := [*named, *_of_runs("ingest/tables")]):
        raise UsageError(f"no run is in {DEFAULT_OUTPUT}; say with --tables what the features were built from")
    found = origin.find(generations, features, tables, named[0] if len(named) == 1 else None)
    for generation, root in found.items():
        warn(f"{line(f'feature generation {generation}: {root}')}\n")
    return found


def _of_runs(what: str) -> list[Path]:
    """What a step of the runs on this machine left."""
    return sorted(Path(DEFAULT_OUTPUT).glob(f".pipeline/*/{what}"))


def _scale(features: Path) -> tuple[str, dict[str, float]]:
    """The generation of a folder of features, and the scale of its counts; DataError E151 where it is none."""
    from lodestar.features.store import generation_of, scalers

    scale = scalers(features)
    return generation_of(features), scale


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 90m, 24h or 7d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _rounded(age: timedelta) -> timedelta:
    """To seconds."""
    return timedelta(seconds=round(age.total_seconds()))

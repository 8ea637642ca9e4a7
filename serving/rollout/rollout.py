"""Canary rollout of a new bundle: start with a share of the traffic, then promote or roll back, in one of three canary modes
(serving.rollout.canary).

The state of a rollout is in the InferenceService and its route and nowhere else, so any process can continue it. Additional state is an
annotation of the route, since one of the service is copied to its pods, and would replace them all.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

from lodestar.errors import EnvironmentFault, LodestarError, UsageError
from lodestar.io.exits import run_command
from lodestar.process.command_line import Parser, add_option
from lodestar.process.termination import exit_on_termination
from lodestar.progress import log_event
from serving.rollout.api_errors import NOT_FOUND
from serving.rollout.canary import canary, canary_mode_of, check_canary, promote, replace_stable, restore_stable, roll_back, state
from serving.rollout.kserve_api import ApiServer, Step, connect
from serving.rollout.rollback_record import record_rollback, rolled_back_bundles

PERCENT = 10  # default share of the traffic
COMMANDS = {  # with the rest of an example
    "start": ("start a canary: send a share of the traffic to a new bundle", " --bundle s3://bucket/bundles/versions/DIGEST --percent 5"),
    "promote": ("send all traffic to the new bundle", ""),
    "rollback": ("send all traffic to the old bundle again", ""),
    "status": ("print the current bundle, the candidate and its share as JSON", ""),
}
VERSIONED = re.compile(r"s3://[^/\s]+/(\S+/)?versions/[0-9a-f]{64}")


def start_canary(service: str, candidate: str, percent: int = PERCENT) -> None:
    """Start a canary: send `percent` of a service's traffic (NAME or NAMESPACE/NAME) to another bundle; idempotent.

    A service that is not ready yet gets the bundle at once. A candidate that does not become ready is removed again, and so are all
    changes if SystemExit or KeyboardInterrupt interrupts it. EnvironmentFault E573 if another rollout takes over meanwhile.
    """
    api = connect(service)
    live = api.live()
    now = state(live)
    if now.stable == candidate:
        log_event("rollout", service=service, bundle=candidate, state="serves already")
    elif not api.is_ready(live.service):
        with _undone_on_failure(api, restore_stable(candidate, now.stable)):
            api.apply(replace_stable(candidate))
        log_event("rollout", service=service, bundle=candidate, percent=100)
    else:
        canary_mode = canary_mode_of(live)
        steps = canary(canary_mode, candidate, percent)
        with _undone_on_failure(api, roll_back(canary_mode, candidate, now.stable)):
            api.apply(steps)
        log_event("rollout", service=service, bundle=candidate, percent=percent, canary_mode=canary_mode)


def check_canary_mode(service: str) -> None:
    """Check before a run that `start_canary` can work: E596 if the service does not exist, E540, E545, E570
    or E571 if its traffic cannot be split.

    A service that is not ready yet passes, since it gets the bundle at once. So does an API server that does not answer.
    """
    from kubernetes.client import ApiException

    api = connect(service)
    try:
        live = api.live()
    except EnvironmentFault as fault:
        if isinstance(fault.__cause__, ApiException) and fault.__cause__.status == NOT_FOUND:
            raise
        return
    if api.is_ready(live.service):
        check_canary(live, PERCENT)


def start_from_pipeline(service: str, candidate: str) -> None:
    """`start_canary` for an unattended pipeline run, which keeps an operator's decision on this bundle.

    A candidate in a running rollout keeps its share, and one that was rolled back is not started again.
    """
    live = connect(service).live()
    now = state(live)
    if now.candidate == candidate and now.percent:
        log_event("rollout", service=service, bundle=candidate, percent=now.percent, state="is a canary already; its share is kept")
    elif candidate in rolled_back_bundles(live) and now.stable != candidate:
        log_event("rollout", service=service, bundle=candidate, state="not started: it was rolled back; `lodestar rollout start` starts it")
    else:
        start_canary(service, candidate)


def start(service: str, candidate: str, percent: int) -> None:
    """`start_canary` on an operator's command, also for a bundle that was rolled back.

    UsageError unless it is the address of a published bundle version, which pods can download.
    """
    if not VERSIONED.fullmatch(candidate):
        raise UsageError(
            f"{candidate!r} is not the address of a published bundle: write s3://BUCKET/…/versions/DIGEST, as publish prints it"
        )
    connect(service).apply([record_rollback(candidate, is_rolled_back=False)])
    start_canary(service, candidate, percent)


def promote_or_roll_back(service: str, *, is_promotion: bool) -> None:
    """Promote the candidate, or roll it back; UsageError if there is no candidate to promote."""
    api = connect(service)
    live = api.live()
    now = state(live)
    canary_mode = now.canary_mode or canary_mode_of(live)
    if is_promotion:
        if now.candidate is None:
            raise UsageError(f"there is no canary of {service}; `start` one first")
        api.apply(promote(canary_mode, now.candidate))
    elif now.candidate is not None or canary_mode != "knative":
        if now.candidate is not None:
            api.apply([record_rollback(now.candidate, is_rolled_back=True)])
        api.apply(roll_back(canary_mode, now.candidate, now.stable))
    log_event("rollout", service=service, bundle=state(api.live()).stable, percent=100, canary_mode=canary_mode)


@contextmanager
def _undone_on_failure(api: ApiServer, steps: list[Step]) -> Iterator[None]:
    try:
        yield
    except (LodestarError, SystemExit, KeyboardInterrupt):
        api.undo(steps)
        raise


def main(arguments: list[str] | None = None) -> int:
    """The command line `lodestar rollout`; its result is one structured line on standard error."""
    options = parser().parse_args(arguments)
    with exit_on_termination():
        return run_command("lodestar rollout", partial(_roll_out, options))


def _roll_out(options: argparse.Namespace) -> int:
    if options.command == "start":
        start(options.service, options.bundle, options.percent)
    elif options.command == "status":
        sys.stdout.write(json.dumps(asdict(state(connect(options.service).live()))) + "\n")
    else:
        promote_or_roll_back(options.service, is_promotion=options.command == "promote")
    return 0


def parser() -> Parser:
    """The parser of `lodestar rollout`."""
    parser = Parser(
        prog="lodestar rollout",
        description="Canary rollout of a new bundle to an InferenceService.",
        examples=["lodestar rollout status --service lodestar/recommend", "lodestar rollout promote --service lodestar/recommend"],
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (meaning, more) in COMMANDS.items():
        description, example = f"{meaning[0].upper()}{meaning[1:]}.", f"lodestar rollout {name} --service lodestar/recommend{more}"
        command = commands.add_parser(name, help=meaning, description=description, examples=[example])
        add_option(command, "--service", required=True)
        if name == "start":
            add_option(command, "--bundle", required=True, help="a published bundle: its s3:// address")
            command.add_argument("--percent", type=int, default=PERCENT, metavar="N", help="percent of the traffic for the new bundle")
    return parser


if __name__ == "__main__":
    sys.exit(main())

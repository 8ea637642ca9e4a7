"""Canary rollout of a new bundle: start with a share of the traffic, then promote or roll back, in one of three canary modes
(serving.rollout.canary).

The state of a rollout is in the InferenceService and its route, and what an operator decided in a ConfigMap (serving.rollout.record), and
nowhere else, so any process can continue it.
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
from lodestar.process.option_values import whole_number
from lodestar.process.termination import exit_on_termination
from lodestar.progress import log_event
from serving.rollout.api_errors import NOT_FOUND
from serving.rollout.canary import canary, canary_mode_of, check_canary, promote, replace_stable
from serving.rollout.kserve_api import ApiServer, Reversal, ServiceState, connect
from serving.rollout.record import bundle_before, forget_rollback, record_replacement, replaced_bundle, rolled_back_bundles
from serving.rollout.reversal import recorded, restore_stable, roll_back
from serving.rollout.state import is_unfinished, state

PERCENT = 10  # default share of the traffic
COMMANDS = {  # with the rest of an example
    "start": ("start a canary: send a share of the traffic to a new bundle", " --bundle s3://bucket/bundles/versions/DIGEST --percent 5"),
    "promote": ("send all traffic to the new bundle", ""),
    "rollback": ("send all traffic to the old bundle again, also after a promotion", ""),
    "status": ("print the current bundle, the candidate and its share as JSON", ""),
}
VERSIONED = re.compile(r"s3://[^/\s]+/(\S+/)?versions/[0-9a-f]{64}")


def start_canary(service: str, candidate: str, percent: int = PERCENT) -> None:
    """Start a canary: send `percent` of a service's traffic (NAME or NAMESPACE/NAME) to another bundle; idempotent.

    A service that has no bundle yet gets it at once, and so does one without a canary of which no pod has been available for a minute; one
    that is only not ready is waited for (E542 after ten minutes). A candidate that does not become ready is removed again, and so are all
    changes if SystemExit or KeyboardInterrupt interrupts it. EnvironmentFault E573 if another rollout takes over meanwhile.
    """
    api = connect(service)
    live = api.live()
    now, before = state(live), bundle_before(live, None)
    if now.stable == candidate:
        log_event("rollout", service=service, bundle=candidate, state="serves already")
    elif not now.stable or (now.candidate is None and not api.answers()):
        with _undone_on_failure(api, restore_stable(candidate, before)):
            api.apply([record_replacement(candidate), *replace_stable(candidate)])
        log_event("rollout", service=service, bundle=candidate, percent=100)
    else:
        canary_mode = canary_mode_of(live)
        steps = canary(canary_mode, candidate, percent)
        with _undone_on_failure(api, roll_back(canary_mode, candidate, before)):
            api.apply(steps)
        log_event("rollout", service=service, bundle=candidate, percent=percent, canary_mode=canary_mode)


def check_canary_mode(service: str) -> None:
    """Check before a run that `start_canary` can work: E596 if the service does not exist, E540, E545, E570
    or E571 if its traffic cannot be split.

    A service that has no bundle yet passes, since it gets one at once. So does an API server that does not answer.
    """
    from kubernetes.client import ApiException

    api = connect(service)
    try:
        live = api.live()
    except EnvironmentFault as fault:
        if isinstance(fault.__cause__, ApiException) and fault.__cause__.status == NOT_FOUND:
            raise
        return
    if state(live).stable:
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
            f"{candidate!r} is not the address of a published bundle: write s3://BUCKET/…/versions/DIGEST, as publish prints it",
            code="E326",
        )
    connect(service).apply([forget_rollback(candidate)])
    start_canary(service, candidate, percent)


def promote_or_roll_back(service: str, *, is_promotion: bool) -> None:
    """Promote the candidate, or roll it back: also after its promotion, finished or not, to the bundle that it replaced.

    A promotion that fails or is interrupted is rolled back. UsageError if there is nothing to promote or to roll back.
    """
    api = connect(service)
    live = api.live()
    canary_mode = state(live).canary_mode or canary_mode_of(live)
    candidate = _candidate_of(live, service, is_promotion=is_promotion)
    reversal = roll_back(canary_mode, candidate, bundle_before(live, candidate))
    if is_promotion and candidate is not None:
        with _undone_on_failure(api, reversal):
            api.apply([record_replacement(candidate), *promote(canary_mode, candidate)])
    else:
        api.revert(recorded(reversal, candidate) if candidate is not None else reversal)
    log_event("rollout", service=service, bundle=state(api.live()).stable, percent=100, canary_mode=canary_mode)


def _candidate_of(live: ServiceState, service: str, *, is_promotion: bool) -> str | None:
    """The candidate, or for a rollback the bundle that has replaced the recorded one; None if only remains of a rollout are left."""
    now = state(live)
    if now.candidate is None and is_promotion:
        raise UsageError(f"there is no canary of {service}; `start` one first", code="E325")
    if now.candidate is None and replaced_bundle(live) is not None:
        return now.stable
    if now.candidate is None and not is_unfinished(live):
        raise UsageError(
            f"there is nothing to roll back: {service} has no canary, and its bundle replaced none; `start` the one that it is to serve",
            code="E325",
        )
    return now.candidate


@contextmanager
def _undone_on_failure(api: ApiServer, reversal: Reversal) -> Iterator[None]:
    try:
        yield
    except LodestarError:
        api.undo(reversal, is_terminated=False)
        raise
    except (SystemExit, KeyboardInterrupt):
        api.undo(reversal, is_terminated=True)
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
            command.add_argument(
                "--percent", type=whole_number(1, 99), default=PERCENT, metavar="N", help="percent of the traffic for the new bundle"
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Give a new bundle a share of the requests, then all or none of them, in whichever of three forms the cluster can (serving.canary).

How far a rollout is stands in the InferenceService and its route and nowhere else, so any process can go on with it. What must be noted
beside them is an annotation of the route: one of the service goes into its pods, and would replace them all.
"""

import argparse
import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from lodestar.errors import EnvironmentFault, LodestarError, UsageError
from lodestar.progress import log_event
from lodestar.termination import terminate
from serving.canary import canary, check, form_of, promote, put_back, replace, roll_back, state
from serving.cluster import NOT_FOUND, ApiServer, Step, connect
from serving.verdicts import note, rolled_back

PERCENT = 10  # of a hundred requests, where nothing else is asked for
VERSIONED = re.compile(r"s3://[^/\s]+/(\S+/)?versions/[0-9a-f]{64}")


def start_canary(service: str, address: str, percent: int = PERCENT) -> None:
    """Send a share of the requests of a service (NAME or NAMESPACE/NAME) to another bundle; safe to call again.

    A service that answers nothing yet takes the bundle at once. A candidate that does not become ready is removed again, and so is what
    was begun when SystemExit or KeyboardInterrupt ends it. EnvironmentFault E573 where another rollout takes over meanwhile.
    """
    api = connect(service)
    live = api.live()
    now = state(live)
    if now.bundle == address:
        log_event("rollout", service=service, bundle=address, state="serves already")
    elif not api.answers(live.service):
        with _undone_on_failure(api, put_back(address, now.bundle)):
            api.make(replace(address))
        log_event("rollout", service=service, bundle=address, percent=100)
    else:
        form = form_of(live)
        steps = canary(form, address, percent)
        with _undone_on_failure(api, roll_back(form, address, now.bundle)):
            api.make(steps)
        log_event("rollout", service=service, bundle=address, percent=percent, form=form)


def check_form(service: str) -> None:
    """Refuse a service that is not there (E541), or whose requests cannot be split as `start_canary` would; nothing is made.

    One that answers nothing yet takes a bundle at once, in any form. An API server that does not answer is no refusal.
    """
    from kubernetes.client import ApiException

    api = connect(service)
    try:
        live = api.live()
    except EnvironmentFault as fault:
        if isinstance(fault.__cause__, ApiException) and fault.__cause__.status == NOT_FOUND:
            raise
        return
    if api.answers(live.service):
        check(live, PERCENT)


def offer(service: str, address: str) -> None:
    """`start_canary` for a run that nobody watches: what an operator has decided on this bundle stays.

    One that is being tried keeps its share, whatever that is by now, and one that was rolled back is not tried again.
    """
    live = connect(service).live()
    now = state(live)
    if now.candidate == address and now.percent:
        log_event("rollout", service=service, bundle=address, percent=now.percent, state="is tried already; its share stays")
    elif address in rolled_back(live) and now.bundle != address:
        log_event(
            "rollout", service=service, bundle=address, state="left alone: it was rolled back; `python -m serving.rollout start` tries it"
        )
    else:
        start_canary(service, address)


def start(service: str, address: str, percent: int) -> None:
    """`start_canary` as an operator asks for it, of a bundle that was rolled back too.

    UsageError where the address is not the own one of a published bundle: no pod could fetch it.
    """
    if not VERSIONED.fullmatch(address):
        raise UsageError(f"{address!r} is no published bundle's own address: write s3://BUCKET/…/versions/DIGEST, as publish says it")
    connect(service).make([note(address, is_rolled_back=False)])
    start_canary(service, address, percent)


def finish(service: str, *, take: bool) -> None:
    """Promote the candidate, or roll it back; UsageError where there is none to promote."""
    api = connect(service)
    live = api.live()
    now = state(live)
    form = now.form or form_of(live)
    if take:
        if now.candidate is None:
            raise UsageError(f"there is no canary of {service}; `start` one first")
        api.make(promote(form, now.candidate))
    elif now.candidate is not None or form != "knative":
        if now.candidate is not None:
            api.make([note(now.candidate, is_rolled_back=True)])
        api.make(roll_back(form, now.candidate, now.bundle))
    log_event("rollout", service=service, bundle=state(api.live()).bundle, percent=100, form=form)


@contextmanager
def _undone_on_failure(api: ApiServer, steps: list[Step]) -> Iterator[None]:
    try:
        yield
    except (LodestarError, SystemExit, KeyboardInterrupt):
        api.undo(steps)
        raise


def main(arguments: list[str] | None = None) -> int:
    """The command line; what it did is one structured line on the error stream."""
    options = _parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        if options.command == "start":
            start(options.service, options.bundle, options.percent)
        elif options.command == "status":
            sys.stdout.write(json.dumps(asdict(state(connect(options.service).live()))) + "\n")
        else:
            finish(options.service, take=options.command == "promote")
    except LodestarError as error:
        sys.stderr.write(f"serving.rollout: {error}\n")
        return error.exit_code
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.rollout", description="Move an InferenceService to a new bundle, by shares.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, meaning in (
        ("start", "send a share of the requests to a new bundle"),
        ("promote", "give the new bundle all requests"),
        ("rollback", "give the old bundle all requests again"),
        ("status", "say which bundle answers, and which is being tried, as JSON"),
    ):
        command = commands.add_parser(name, help=meaning, description=f"{meaning[0].upper()}{meaning[1:]}.")
        command.add_argument(
            "--service", required=True, metavar="NAME", help="InferenceService: NAME or NAMESPACE/NAME (default: lodestar)"
        )
        if name == "start":
            command.add_argument("--bundle", required=True, metavar="ADDRESS", help="s3:// address of a published bundle")
            command.add_argument("--percent", type=int, default=10, metavar="N", help="of a hundred requests (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

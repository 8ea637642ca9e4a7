"""Give a new bundle a share of the requests, then all or none of them, in whichever of three forms the cluster can.

    two-services   a second InferenceService beside the first, and weights in an HTTPRoute of ours: any KServe with a Gateway
    standard       `spec.canary`: KServe from 0.21, whose own route then carries the weights
    knative        `canaryTrafficPercent`: Knative mode only; elsewhere KServe ignores it, and the new bundle takes everything

How far a rollout is stands in the InferenceService's annotations and in the route, nowhere else, so any process can go on with it.
Changes are JSON merge patches in the order in which they are made; one marked as a deletion names what goes.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from lodestar.errors import EnvironmentFault, LodestarError, UsageError
from lodestar.progress import log_event

if TYPE_CHECKING:
    from serving.cluster import ApiServer

Form = Literal["two-services", "standard", "knative"]
Object = dict[str, Any]

FORM, BUNDLE, PERCENT = "lodestar/canary-form", "lodestar/canary-bundle", "lodestar/canary-percent"
SERVICE, ROUTE = "InferenceService", "HTTPRoute"
VERSIONS = {SERVICE: "serving.kserve.io/v1beta1", ROUTE: "gateway.networking.k8s.io/v1"}
MODE, KNATIVE = "serving.kserve.io/deploymentMode", ("Knative", "Serverless")
DELETE = {"$patch": "delete"}
NO_STATE = {BUNDLE: None, PERCENT: None}
CANARY = "canary"
PORT = 80
SHOWN_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What decides on the form: KServe's mode for this service, the form its owner asked for, and whether HTTPRoutes exist."""

    mode: str
    asked: str | None
    has_gateway: bool


@dataclass(frozen=True, kw_only=True)
class State:
    """Which bundle answers (empty: none yet), and which one is being tried on how many of a hundred requests."""

    bundle: str
    candidate: str | None
    percent: int
    form: str | None


def detect(cluster: Cluster) -> Form:
    """The form that this cluster can do; EnvironmentFault E540 where it can do none, or not the one asked for."""
    is_knative = cluster.mode in KNATIVE
    if cluster.asked is not None:
        return _asked(cluster.asked, is_knative)
    if is_knative:
        return "knative"
    if cluster.has_gateway:
        return "two-services"
    raise EnvironmentFault("E540", "this cluster has no way to split requests", remedy="Install the Gateway API, or serve in Knative mode.")


def _asked(form: str, is_knative: bool) -> Form:
    if form not in get_args(Form):
        raise UsageError(f"the annotation {FORM} is {form!r}; it is one of {', '.join(get_args(Form))}")
    if (form == "knative") != is_knative:
        fault = "Knative mode has a form of its own" if is_knative else "canaryTrafficPercent is ignored outside Knative mode"
        raise EnvironmentFault("E540", f"{fault}, so this is no {form} canary", remedy=f"Set or remove the annotation {FORM}.")
    return cast("Form", form)


def canary(form: Form, service: Object, address: str, percent: int) -> list[Object]:
    """Changes that send `percent` of a hundred requests to the bundle at `address`."""
    if not 0 < percent < 100:
        raise UsageError(f"a canary takes between 1 and 99 percent of the requests, not {percent}")
    _asked(form, mode(service) in KNATIVE)
    noted = {FORM: form, BUNDLE: address, PERCENT: str(percent)}
    if form == "two-services":
        return [_second(service, address), _changed(service, noted), _weights(service, percent)]
    if form == "standard":
        entry = {"trafficPercent": percent, "predictor": _canary_predictor(service, address)}
        return [_changed(service, noted, canary=[entry])]
    return [_changed(service, noted, predictor={"canaryTrafficPercent": percent, "model": {"storageUri": address}})]


def promote(form: Form, service: Object) -> list[Object]:
    """Changes that give the candidate all requests."""
    address = _candidate(service)
    if form == "two-services":
        return [replace(service, address), _weights(service, 0), _identity(SERVICE, _second_name(service), service) | DELETE]
    if form == "standard":
        chosen = {"name": service["spec"]["canary"][0]["predictor"]["name"], "model": {"storageUri": address}}
        return [_changed(service, NO_STATE, predictor=chosen, canary=None)]
    return [_changed(service, NO_STATE, predictor={"canaryTrafficPercent": None})]


def roll_back(form: Form, service: Object) -> list[Object]:
    """Changes that give the bundle which was there before all requests again."""
    if form == "two-services":
        return [_weights(service, 0), _changed(service, NO_STATE), _identity(SERVICE, _second_name(service), service) | DELETE]
    if form == "standard":
        return [_changed(service, NO_STATE, canary=None)]
    return [_changed(service, NO_STATE, predictor={"canaryTrafficPercent": 0})]


def replace(service: Object, address: str) -> Object:
    """The change that makes the bundle at `address` the one that answers."""
    return _changed(service, NO_STATE, predictor={"model": {"storageUri": address}})


def start_canary(service: str, address: str, percent: int = 10) -> None:
    """Send a share of the requests of a service (NAME or NAMESPACE/NAME) to another bundle; safe to call again.

    A service that answers nothing yet takes the bundle at once; a candidate that does not become ready is removed again.
    """
    api = _connect(service)
    live = api.service()
    if state(live).bundle == address:
        log_event("rollout", service=service, bundle=address, state="serves already")
    elif not api.answers(live):
        api.make([replace(live, address)])
        log_event("rollout", service=service, bundle=address, percent=100)
    else:
        form = detect(Cluster(mode=mode(live), asked=live["metadata"].get("annotations", {}).get(FORM), has_gateway=api.has_gateway()))
        changes, undoing = canary(form, live, address, percent), roll_back(form, live)
        try:
            api.make(changes)
        except LodestarError:
            api.make(undoing)
            raise
        log_event("rollout", service=service, bundle=address, percent=percent, form=form)


def finish(service: str, *, take: bool) -> None:
    """Promote the candidate, or roll it back."""
    api = _connect(service)
    live = api.service()
    form = _asked(state(live).form or "two-services", mode(live) in KNATIVE)
    changes = promote(form, live) if take else roll_back(form, live)
    api.make(changes)
    log_event("rollout", service=service, bundle=state(api.service()).bundle, percent=100, form=form)


def _connect(service: str) -> "ApiServer":
    from serving.cluster import connect

    return connect(service)


def state(service: Object) -> State:
    """How far the rollout is, as the InferenceService itself says."""
    noted = service["metadata"].get("annotations", {})
    bundle = service["spec"]["predictor"]["model"].get("storageUri", "")
    return State(bundle=bundle, candidate=noted.get(BUNDLE), percent=int(noted.get(PERCENT, 0)), form=noted.get(FORM))


def mode(service: Object) -> str:
    """KServe's mode for this service, as it reports it or as it is asked to."""
    return str(service.get("status", {}).get("deploymentMode") or service["metadata"].get("annotations", {}).get(MODE, ""))


def _candidate(service: Object) -> str:
    address = state(service).candidate
    if address is None:
        raise UsageError(f"there is no canary of {service['metadata']['name']}; `start` one first")
    return address


def _second(service: Object, address: str) -> Object:
    wanted = service["spec"]["predictor"]
    predictor = wanted | {"model": _tried(wanted["model"], address), "minReplicas": 1}
    kept = {name: value for name, value in service["metadata"].get("annotations", {}).items() if name.startswith("serving.kserve.io/")}
    second = _identity(SERVICE, _second_name(service), service)
    second["metadata"] |= {"labels": service["metadata"].get("labels", {}), "annotations": kept}
    return second | {"spec": {"predictor": predictor}}


def _canary_predictor(service: Object, address: str) -> Object:
    """KServe merges it over the stable one; the name is new with each bundle, since a promotion takes it over."""
    name = f"{CANARY}-{hashlib.sha256(address.encode()).hexdigest()[:SHOWN_DIGITS]}"
    return {"name": name, "minReplicas": 1, "model": _tried(service["spec"]["predictor"]["model"], address)}


def _tried(model: Object, address: str) -> Object:
    arguments = [part for part in model.get("args", []) if not part.startswith("--arm=")]
    return model | {"storageUri": address, "args": [*arguments, f"--arm={CANARY}"]}


def _weights(service: Object, percent: int) -> Object:
    names = (service["metadata"]["name"], _second_name(service)) if percent else (service["metadata"]["name"],)
    weights = (100 - percent, percent)
    backends = [{"name": f"{name}-predictor", "port": PORT, "weight": weight} for name, weight in zip(names, weights, strict=False)]
    return _identity(ROUTE, f"{service['metadata']['name']}-split", service) | {"spec": {"rules": [{"backendRefs": backends}]}}


def _changed(service: Object, annotations: Object, **spec: Any) -> Object:
    change = _identity(SERVICE, service["metadata"]["name"], service)
    change["metadata"]["annotations"] = annotations
    return change | ({"spec": spec} if spec else {})


def _second_name(service: Object) -> str:
    return f"{service['metadata']['name']}-{CANARY}"


def _identity(kind: str, name: str, service: Object) -> Object:
    return {"apiVersion": VERSIONS[kind], "kind": kind, "metadata": {"name": name, "namespace": service["metadata"]["namespace"]}}


def main(arguments: list[str] | None = None) -> int:
    """The command line; what it did is one structured line on the error stream."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "start":
            start_canary(options.service, options.bundle, options.percent)
        elif options.command == "status":
            sys.stdout.write(json.dumps(asdict(state(_connect(options.service).service()))) + "\n")
        else:
            finish(options.service, take=options.command == "promote")
    except LodestarError as error:
        sys.stderr.write(f"serving.rollout: {error}\n")
        return error.exit_code
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

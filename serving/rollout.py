"""Give a new bundle a share of the requests, then all or none of them, in whichever of three forms the cluster can.

    two-services   a second InferenceService beside the first, and weights in an HTTPRoute of ours: any KServe with a Gateway
    standard       `spec.canary`: KServe from 0.21, whose own route then carries the weights
    knative        `canaryTrafficPercent`: Knative mode only; elsewhere KServe ignores it, and the new bundle takes everything

How far a rollout is stands in these objects and nowhere else, so any process can go on with it. What must be noted beside them is an
annotation of the route: one of the service goes into its pods, and would replace them all.
Changes are JSON merge patches in the order in which they are made; one marked as a deletion names what goes.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

from lodestar.errors import EnvironmentFault, LodestarError, UsageError
from lodestar.progress import log_event
from serving.cluster import KNATIVE, Live, connect

Form = Literal["two-services", "standard", "knative"]
Object = dict[str, Any]

# What the service's owner may ask for; which bundle the route's second backend serves; which one Knative's older revision does.
FORM, CANDIDATE, STABLE = "lodestar/canary-form", "lodestar/canary-bundle", "lodestar/stable-bundle"
SERVICE, ROUTE = "InferenceService", "HTTPRoute"
VERSIONS = {SERVICE: "serving.kserve.io/v1beta1", ROUTE: "gateway.networking.k8s.io/v1"}
MODE = "serving.kserve.io/deploymentMode"
DELETE = {"$patch": "delete"}
CANARY = "canary"
PORT = 80
SHOWN_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What decides on the form: KServe's mode for this service, the form its owner asked for, and whether our HTTPRoute exists."""

    mode: str
    asked: str | None
    has_route: bool


@dataclass(frozen=True, kw_only=True)
class State:
    """Which bundle answers (empty: none yet), and which one is being tried on how many of a hundred requests."""

    bundle: str
    candidate: str | None
    percent: int
    form: Form | None


def detect(cluster: Cluster) -> Form:
    """The form that this cluster can do; EnvironmentFault E540 where it can do none, or not the one asked for."""
    is_knative = cluster.mode in KNATIVE
    form = _asked(cluster.asked or ("knative" if is_knative else "two-services"), is_knative)
    if form != "two-services" or cluster.has_route:
        return form
    remedy = "Install the Gateway API and apply manifests/, or serve in Knative mode."
    raise EnvironmentFault("E540", "this cluster has no way to split requests", remedy=remedy)


def _asked(form: str, is_knative: bool) -> Form:
    if form not in get_args(Form):
        raise UsageError(f"the annotation {FORM} is {form!r}; it is one of {', '.join(get_args(Form))}")
    if (form == "knative") != is_knative:
        fault = "Knative mode has a form of its own" if is_knative else "canaryTrafficPercent is ignored outside Knative mode"
        raise EnvironmentFault("E540", f"{fault}, so this is no {form} canary", remedy=f"Set or remove the annotation {FORM}.")
    return cast("Form", form)


def canary(form: Form, live: Live, address: str, percent: int) -> list[Object]:
    """Changes that send `percent` of a hundred requests to the bundle at `address`."""
    if not 0 < percent < 100:
        raise UsageError(f"a canary takes between 1 and 99 percent of the requests, not {percent}")
    _asked(form, mode(live.service) in KNATIVE)
    if form == "two-services":
        return [_second(live.service, address), _shared(live, percent, address)]
    if form == "standard":
        return [_changed(live.service, canary=[{"trafficPercent": percent, "predictor": _canary_predictor(live.service, address)}])]
    change = _changed(live.service, predictor={"canaryTrafficPercent": percent, "model": {"storageUri": address}})
    change["metadata"]["annotations"] = {STABLE: state(live).bundle}
    return [change]


def promote(form: Form, live: Live, address: str) -> list[Object]:
    """Changes that give all requests to the candidate, the bundle at `address`."""
    if form == "two-services":
        return [replace(live.service, address), *_alone(live)]
    if form == "standard":
        name = live.service["spec"]["canary"][0]["predictor"]["name"]
        return [_changed(live.service, predictor={"name": name, "model": {"storageUri": address}}, canary=None)]
    return [_changed(live.service, predictor={"canaryTrafficPercent": None})]


def roll_back(form: Form, live: Live, address: str) -> list[Object]:
    """Changes that give all requests again to the bundle at `address`, which was there before."""
    if form == "two-services":
        return _alone(live)
    if form == "standard":
        return [_changed(live.service, canary=None)]
    # The old revision keeps all requests until a new one of the same bundle is ready: "the latest" would be the candidate until then.
    old = {"canaryTrafficPercent": 0, "model": {"storageUri": address}}
    return [_changed(live.service, predictor=old), _changed(live.service, predictor={"canaryTrafficPercent": None})]


def replace(service: Object, address: str) -> Object:
    """The change that makes the bundle at `address` the one that answers."""
    return _changed(service, predictor={"model": {"storageUri": address}})


def start_canary(service: str, address: str, percent: int = 10) -> None:
    """Send a share of the requests of a service (NAME or NAMESPACE/NAME) to another bundle; safe to call again.

    A service that answers nothing yet takes the bundle at once; a candidate that does not become ready is removed again.
    """
    api = connect(service)
    live = api.live()
    now = state(live)
    if now.bundle == address:
        log_event("rollout", service=service, bundle=address, state="serves already")
    elif not api.answers(live.service):
        api.make([replace(live.service, address)])
        log_event("rollout", service=service, bundle=address, percent=100)
    else:
        form = _form(live)
        changes, undoing = canary(form, live, address, percent), roll_back(form, live, now.bundle)
        try:
            api.make(changes)
        except LodestarError:
            api.make(undoing)
            raise
        log_event("rollout", service=service, bundle=address, percent=percent, form=form)


def finish(service: str, *, take: bool) -> None:
    """Promote the candidate, or roll it back; UsageError where there is none to promote."""
    api = connect(service)
    live = api.live()
    now = state(live)
    form = now.form or _form(live)
    if take:
        if now.candidate is None:
            raise UsageError(f"there is no canary of {service}; `start` one first")
        api.make(promote(form, live, now.candidate))
    elif now.candidate is not None or form != "knative":
        api.make(roll_back(form, live, now.bundle))
    log_event("rollout", service=service, bundle=state(api.live()).bundle, percent=100, form=form)


def state(live: Live) -> State:
    """How far the rollout is, as the InferenceService and its route say."""
    predictor, noted = live.service["spec"]["predictor"], _annotations(live.service)
    bundle, percent = predictor["model"].get("storageUri", ""), predictor.get("canaryTrafficPercent")
    for entry in live.service["spec"].get("canary", []):
        candidate = entry["predictor"]["model"]["storageUri"]
        return State(bundle=bundle, candidate=candidate, percent=entry["trafficPercent"], form="standard")
    if percent is not None and STABLE in noted:
        return State(bundle=noted[STABLE], candidate=bundle, percent=percent, form="knative")
    if live.route is not None and CANDIDATE in _annotations(live.route):
        weights = {backend["name"]: backend["weight"] for rule in live.route["spec"]["rules"] for backend in rule["backendRefs"]}
        share = weights.get(f"{_second_name(live.service)}-predictor", 0)
        return State(bundle=bundle, candidate=_annotations(live.route)[CANDIDATE], percent=share, form="two-services")
    return State(bundle=bundle, candidate=None, percent=0, form=None)


def _form(live: Live) -> Form:
    asked = _annotations(live.service).get(FORM)
    return detect(Cluster(mode=mode(live.service), asked=asked, has_route=live.route is not None))


def mode(service: Object) -> str:
    """KServe's mode for this service, as it reports it or as it is asked to."""
    return str(service.get("status", {}).get("deploymentMode") or _annotations(service).get(MODE, ""))


def _annotations(thing: Object) -> dict[str, str]:
    return dict(thing["metadata"].get("annotations") or {})


def _second(service: Object, address: str) -> Object:
    wanted = service["spec"]["predictor"]
    predictor = wanted | {"model": _tried(wanted["model"], address), "minReplicas": 1}
    kept = {name: value for name, value in _annotations(service).items() if name.startswith("serving.kserve.io/")}
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


def _alone(live: Live) -> list[Object]:
    return [_shared(live, 0, None), _identity(SERVICE, _second_name(live.service), live.service) | DELETE]


def _shared(live: Live, percent: int, candidate: str | None) -> Object:
    """Other backends in the route's rules; what else its owner wrote there stays."""
    name = live.service["metadata"]["name"]
    weights = {name: 100 - percent} | ({_second_name(live.service): percent} if percent else {})
    backends = [{"name": f"{one}-predictor", "port": PORT, "weight": weight} for one, weight in weights.items()]
    rules = live.route["spec"]["rules"] if live.route else [{}]
    change = _identity(ROUTE, f"{name}-split", live.service) | {"spec": {"rules": [rule | {"backendRefs": backends} for rule in rules]}}
    change["metadata"]["annotations"] = {CANDIDATE: candidate}
    return change


def _changed(service: Object, **spec: Any) -> Object:
    return _identity(SERVICE, service["metadata"]["name"], service) | {"spec": spec}


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
            sys.stdout.write(json.dumps(asdict(state(connect(options.service).live()))) + "\n")
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

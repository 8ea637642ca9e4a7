"""Which changes give a new bundle its share, all requests, or none, in each of three forms; how far that is, read off the objects.

    two-services   a second InferenceService beside the first, and weights in an HTTPRoute of ours: any KServe with a Gateway
    standard       `spec.canary`: KServe from 0.21, whose own route then carries the weights
    knative        `canaryTrafficPercent`: Knative mode only; elsewhere KServe ignores it, and the new bundle takes everything

A change is a step: a function of what is live that gives a JSON merge patch of one object, marked with the version that it was made of, or
nothing where nothing is left to do. One marked as a deletion names what goes. Two rollouts of one service do not mix: in the form of two
services the route names the candidate first, and each later step asks whether it is still the one named.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from lodestar.errors import EnvironmentFault, UsageError
from serving import route as routes
from serving.cluster import CANARY, KNATIVE, ROUTE, SERVICE, VERSIONS, Live, Object, Step

Form = Literal["two-services", "standard", "knative"]

# What the service's owner may ask for; which bundle the route's second backend serves; which one Knative's older revision does.
FORM, CANDIDATE, STABLE = "lodestar/canary-form", "lodestar/canary-bundle", "lodestar/stable-bundle"
CANARY_OF = "lodestar/canary-of"
MODE = "serving.kserve.io/deploymentMode"
DELETE = {"$patch": "delete"}
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


def form_of(live: Live) -> Form:
    """The form in which the bundle of a service is replaced; errors as of `detect`."""
    asked = _annotations(live.service).get(FORM)
    return detect(Cluster(mode=mode(live.service), asked=asked, has_route=live.route is not None))


def check(live: Live, percent: int) -> None:
    """Refuse a service that could not give `percent` of a hundred requests to another bundle, as `canary` would; nothing is changed."""
    if form_of(live) == "two-services":
        _share(live, percent)


def _asked(form: str, is_knative: bool) -> Form:
    if form not in get_args(Form):
        raise UsageError(f"the annotation {FORM} is {form!r}; it is one of {', '.join(get_args(Form))}")
    if (form == "knative") != is_knative:
        fault = "Knative mode has a form of its own" if is_knative else "canaryTrafficPercent is ignored outside Knative mode"
        raise EnvironmentFault("E540", f"{fault}, so this is no {form} canary", remedy=f"Set or remove the annotation {FORM}.")
    return cast("Form", form)


def canary(form: Form, address: str, percent: int) -> list[Step]:
    """Steps that send `percent` of a hundred requests to the bundle at `address`."""
    if not 0 < percent < 100:
        raise UsageError(f"a canary takes between 1 and 99 percent of the requests, not {percent}")
    if form == "two-services":
        return [
            lambda live: _claimed(live, address, percent),
            lambda live: _second(live, _still(live, address)),
            lambda live: _noted(live, _still(live, address), _share(live, percent)),
        ]
    if form == "standard":
        return [
            lambda live: _changed(live, canary=[{"trafficPercent": percent, "predictor": _canary_predictor(live.service, address)}]),
        ]
    return [lambda live: _knative(live, address, percent)]


def promote(form: Form, address: str) -> list[Step]:
    """Steps that give all requests to the candidate, the bundle at `address`; EnvironmentFault E573 where that is another one by then."""
    if form == "two-services":
        return [lambda live: _changed(live, predictor={"model": {"storageUri": _still(live, address)}}), *_alone(address)]
    if form == "standard":

        def take(live: Live) -> Object:
            _still(live, address)
            name = live.service["spec"]["canary"][0]["predictor"]["name"]
            return _changed(live, predictor={"name": name, "model": {"storageUri": address}}, canary=None)

        return [take]
    return [lambda live: _changed(live, predictor={"canaryTrafficPercent": None}) if _still(live, address) else None]


def roll_back(form: Form, candidate: str | None, address: str) -> list[Step]:
    """Steps that give all requests again to the bundle at `address`, which was there before `candidate`, or before whatever is there now.

    A candidate that another rollout has put in place of this one stays.
    """
    if form == "two-services":
        return _alone(candidate)
    if form == "standard":
        return [lambda live: _changed(live, canary=None) if _is_candidate(live, candidate) else None]
    # The old revision keeps all requests until a new one of the same bundle is ready: "the latest" would be the candidate until then.
    old = {"canaryTrafficPercent": 0, "model": {"storageUri": address}}
    return [
        lambda live: _changed(live, predictor=old) if _is_candidate(live, candidate) else None,
        lambda live: _changed(live, predictor={"canaryTrafficPercent": None}) if _bundle(live.service) == address else None,
    ]


def replace(address: str) -> list[Step]:
    """The step that makes the bundle at `address` the one that answers."""
    return [lambda live: _changed(live, predictor={"model": {"storageUri": address}})]


def put_back(address: str, before: str) -> list[Step]:
    """The step that undoes `replace`: the bundle named before, or none, unless yet another one is named by now."""
    return [
        lambda live: _changed(live, predictor={"model": {"storageUri": before or None}}) if _bundle(live.service) == address else None,
    ]


def state(live: Live) -> State:
    """How far the rollout is, as the InferenceService and its route say."""
    noted, percent = _annotations(live.service), live.service["spec"]["predictor"].get("canaryTrafficPercent")
    bundle = _bundle(live.service)
    for entry in live.service["spec"].get("canary", []):
        candidate = entry["predictor"]["model"]["storageUri"]
        return State(bundle=bundle, candidate=candidate, percent=entry["trafficPercent"], form="standard")
    if percent is not None and STABLE in noted:
        return State(bundle=noted[STABLE], candidate=bundle, percent=percent, form="knative")
    if live.route is not None and CANDIDATE in _annotations(live.route):
        share = routes.share(live.route, _backends(live))
        return State(bundle=bundle, candidate=_annotations(live.route)[CANDIDATE], percent=share, form="two-services")
    return State(bundle=bundle, candidate=None, percent=0, form=None)


def mode(service: Object) -> str:
    """KServe's mode for this service, as it reports it or as it is asked to."""
    return str(service.get("status", {}).get("deploymentMode") or _annotations(service).get(MODE, ""))


def _still(live: Live, address: str) -> str:
    candidate = state(live).candidate
    if candidate != address:
        name = f"{live.service['metadata']['namespace']}/{live.service['metadata']['name']}"
        message = (
            f"another rollout has changed {name}, which now {f'tries {candidate}' if candidate else 'tries nothing'} and not {address}"
        )
        raise EnvironmentFault("E573", message, remedy=f"See `python -m serving.rollout status --service {name}`; it was left as it is.")
    return address


def _is_candidate(live: Live, address: str | None) -> bool:
    candidate = state(live).candidate
    return candidate is not None and address in {None, candidate}


def _annotations(thing: Object) -> dict[str, str]:
    return dict(thing["metadata"].get("annotations") or {})


def _bundle(service: Object) -> str:
    return str(service["spec"]["predictor"].get("model", {}).get("storageUri", ""))


def _second(live: Live, address: str) -> Object:
    service = live.service
    wanted = service["spec"]["predictor"]
    predictor = wanted | {"model": _tried(wanted["model"], address), "minReplicas": 1}
    kept = {name: value for name, value in _annotations(service).items() if name.startswith("serving.kserve.io/")}
    second = _identity(SERVICE, f"{service['metadata']['name']}-{CANARY}", service, live.second)
    labels = service["metadata"].get("labels", {}) | {CANARY_OF: service["metadata"]["name"]}
    second["metadata"] |= {"labels": labels, "annotations": kept}
    return second | {"spec": {"predictor": predictor}}


def _is_own(live: Live) -> bool:
    """Whether the second service, where there is one, is a canary's, and nobody's that has its name by chance."""
    labels = (live.second or {}).get("metadata", {}).get("labels") or {}
    return live.second is None or labels.get(CANARY_OF) == live.service["metadata"]["name"]


def _claimed(live: Live, address: str, percent: int) -> Object:
    """The route names the candidate; refused here is what would otherwise end a rollout half-way."""
    if not _is_own(live):
        name = f"{live.service['metadata']['namespace']}/{live.service['metadata']['name']}-{CANARY}"
        message = f"there is an InferenceService {name} that is no canary of ours"
        raise EnvironmentFault(
            "E574", message, remedy=f"Give it another name, or the label {CANARY_OF}={live.service['metadata']['name']}."
        )
    _share(live, percent)
    return _noted(live, address)


def _canary_predictor(service: Object, address: str) -> Object:
    """KServe merges it over the stable one; the name is new with each bundle, since a promotion takes it over."""
    name = f"{CANARY}-{hashlib.sha256(address.encode()).hexdigest()[:SHOWN_DIGITS]}"
    # The schema asks for the model's name here, where it does not for the stable one; KServe has no use for it.
    return {"name": name, "minReplicas": 1, "model": {"name": ""} | _tried(service["spec"]["predictor"]["model"], address)}


def _tried(model: Object, address: str) -> Object:
    arguments = [part for part in model.get("args", []) if not part.startswith("--arm=")]
    return model | {"storageUri": address, "args": [*arguments, f"--arm={CANARY}"]}


def _knative(live: Live, address: str, percent: int) -> Object:
    change = _changed(live, predictor={"canaryTrafficPercent": percent, "model": {"storageUri": address}})
    change["metadata"]["annotations"] = {STABLE: state(live).bundle}
    return change


def _alone(candidate: str | None) -> list[Step]:
    def join(live: Live) -> Object | None:
        if live.route is None or not (_is_candidate(live, candidate) or candidate is None):
            return None
        return _noted(live, None, routes.join(live.route, _backends(live)))

    def remove(live: Live) -> Object | None:
        if live.second is None or not _is_own(live) or candidate not in {None, _bundle(live.second)}:
            return None
        return _identity(SERVICE, live.second["metadata"]["name"], live.service, live.second) | DELETE

    return [join, remove]


def _noted(live: Live, candidate: str | None, change: Object | None = None) -> Object:
    """A change of the route, and which bundle its second backend serves."""
    change = change or {"metadata": {"annotations": {}}}
    noted = _identity(ROUTE, f"{live.service['metadata']['name']}-split", live.service, live.route)
    noted["metadata"]["annotations"] = change["metadata"]["annotations"] | {CANDIDATE: candidate}
    return noted | {key: value for key, value in change.items() if key != "metadata"}


def _share(live: Live, percent: int) -> Object:
    """The route's change."""
    return routes.split(live.route or {"metadata": {"name": "split"}, "spec": {}}, _backends(live), percent)


def _backends(live: Live) -> routes.Backends:
    name = live.service["metadata"]["name"]
    return routes.Backends(namespace=live.service["metadata"]["namespace"], stable=f"{name}-predictor", second=f"{name}-{CANARY}-predictor")


def _changed(live: Live, **spec: Any) -> Object:
    return _identity(SERVICE, live.service["metadata"]["name"], live.service, live.service) | {"spec": spec}


def _identity(kind: str, name: str, service: Object, seen: Object | None) -> Object:
    """Which object is changed, and of which version of it the change was made."""
    metadata = {"name": name, "namespace": service["metadata"]["namespace"]}
    version = (seen or {}).get("metadata", {}).get("resourceVersion")
    return {"apiVersion": VERSIONS[kind], "kind": kind, "metadata": metadata | ({"resourceVersion": version} if version else {})}

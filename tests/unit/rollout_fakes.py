"""A service, its route and an API server in memory, for the tests of a rollout."""

import copy
import json
from collections.abc import Callable

from lodestar.errors import EnvironmentFault, LodestarError
from serving.rollout import rollout
from serving.rollout.canary import CANARY_MODE
from serving.rollout.kserve_api import RECORD, ROUTE, SERVICE, Object, Reversal, ServiceState, Step, record_name
from tests.contract.kustomize import merged

OLD, NEW = "s3://b/old", f"s3://b/versions/{64 * 'e'}"
NAME, CANARY = "recommend", "recommend-canary"


def service(**annotations: str) -> Object:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": SERVICE,
        "metadata": {"name": NAME, "namespace": "lodestar", "labels": {"a": "b"}, "annotations": annotations},
        "spec": {"predictor": {"minReplicas": 2, "model": {"modelFormat": {"name": "lodestar"}, "storageUri": OLD}}},
        "status": {"deploymentMode": "Standard"},
    }


def route() -> Object:
    rules = [{"backendRefs": [{"name": f"{NAME}-predictor", "port": 80, "weight": 100}]}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": ROUTE,
        "metadata": {"name": f"{NAME}-split", "namespace": "lodestar"},
        "spec": {"rules": rules},
    }


class FakeApiServer:
    """Objects in a dictionary that take JSON merge patches (RFC 7396) of the version that was read.

    What is in `meanwhile` is done before the change of that number is made, what is in `done` after so many were; `refuses` is a bundle
    that never becomes ready. `answers` is False if it has no pods, None if one of several is missing for good.
    """

    def __init__(
        self, *, mode: str = "Standard", refuses: str = "", answers: bool | None = True, has_route: bool = True, canary_mode: str = ""
    ) -> None:
        made = service(**({CANARY_MODE: canary_mode} if canary_mode else {}))
        made["status"]["deploymentMode"] = mode
        self.objects = {(SERVICE, NAME): made} | ({(ROUTE, f"{NAME}-split"): route()} if has_route else {})
        self.refuses, self._answers = refuses, answers
        self.made: list[Object] = []
        self.meanwhile: dict[int, Callable[[], object]] = {}
        self.done: dict[int, Callable[[], object]] = {}

    def live(self) -> ServiceState:
        found = copy.deepcopy(self.objects)
        return ServiceState(
            service=found[SERVICE, NAME],
            route=found.get((ROUTE, f"{NAME}-split")),
            canary=found.get((SERVICE, CANARY)),
            record=found.get((RECORD, record_name(NAME))),
        )

    def service(self) -> Object:
        return self.live().service

    def route(self) -> Object:
        found = self.live().route
        assert found is not None
        return found

    def answers(self) -> bool:
        if self._answers is None:
            raise EnvironmentFault("E542", "one pod is missing", remedy="")
        return self._answers

    def apply(self, steps: list[Step]) -> None:
        for step in steps:
            self._apply(step)

    def revert(self, reversal: Reversal) -> None:
        faults = self._revert(reversal)
        if faults:
            raise faults[0]

    def undo(self, reversal: Reversal, *, is_terminated: bool) -> None:
        if not is_terminated:
            self.refuses = ""
        self._revert(reversal)

    def _revert(self, reversal: Reversal) -> list[LodestarError]:
        faults = []
        for step in reversal.at_once:
            try:
                self._apply(step)
            except LodestarError as fault:
                faults.append(fault)
        if not faults:
            self.apply(reversal.afterwards)
        return faults

    def _apply(self, step: Step) -> None:
        while (change := step(self.live())) is not None:
            self.meanwhile.pop(len(self.made), lambda: None)()
            key = change["kind"], change["metadata"]["name"]
            there = self.objects.get(key, {"metadata": {}})
            if there["metadata"].get("resourceVersion") == change["metadata"].get("resourceVersion"):
                self.change(key, change)
                self.done.pop(len(self.made), lambda: None)()
                return

    def change(self, key: tuple[str, str], change: Object) -> None:
        """As anyone may who can write there."""
        self.made.append(change)
        if change.get("$patch") == "delete":
            self.objects.pop(key, None)
            return
        self.objects[key] = merged(self.objects.get(key, {}), change)
        self.objects[key]["metadata"]["resourceVersion"] = str(len(self.made))
        if self.refuses and self.refuses in json.dumps(change.get("spec", {})):
            raise EnvironmentFault("E542", "not ready", remedy="")

    def weights(self) -> dict[str, int]:
        (rule,) = self.objects[ROUTE, f"{NAME}-split"]["spec"]["rules"]
        return {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}


def contents(api: FakeApiServer) -> dict[tuple[str, str], Object]:
    """Everything but the versions and the record."""
    return {key: merged(thing, {"metadata": {"resourceVersion": None}}) for key, thing in api.objects.items() if key[0] != RECORD}


def start(percent: int = 10) -> None:
    rollout.start_canary(f"lodestar/{NAME}", NEW, percent)

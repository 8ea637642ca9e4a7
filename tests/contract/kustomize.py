"""What `kubectl kustomize` makes of our overlays, for machines without kubectl: resources, merge patches, deletions, replaced paths."""

import copy
import re
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
OVERLAYS = Path(__file__).parents[2] / "manifests" / "overlays"


def objects(file: Path) -> list[Object]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def rendered(folder: Path) -> list[Object]:
    """The objects of a kustomization, in the order of its resources."""
    (kustomization,) = objects(folder / "kustomization.yaml")
    found: list[Object] = []
    for resource in kustomization["resources"]:
        path = (folder / resource).resolve()
        found += rendered(path) if path.is_dir() else objects(path)
    for entry in kustomization.get("patches", []):
        content = yaml.safe_load(entry.get("patch") or (folder / entry["path"]).read_text())
        target = entry.get("target") or {"kind": content["kind"], "name": content["metadata"]["name"]}
        found = [changed for thing in found for changed in _patched(thing, target, content)]
    return found


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396; our patches replace no list that a strategic merge would join."""
    if not isinstance(patch, dict):
        return patch
    found = copy.deepcopy(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


def _patched(thing: Object, target: Object, content: Any) -> list[Object]:
    if thing["kind"] != target["kind"] or not re.fullmatch(target["name"], thing["metadata"]["name"]):
        return [thing]
    if isinstance(content, list):
        for operation in content:
            assert operation["op"] == "replace"
            *path, last = operation["path"].strip("/").split("/")
            thing = copy.deepcopy(thing)
            place: Any = thing
            for name in path:
                place = place[int(name) if isinstance(place, list) else name]
            place[int(last) if isinstance(place, list) else last] = operation["value"]
        return [thing]
    return [] if content.get("$patch") == "delete" else [merged(thing, content)]

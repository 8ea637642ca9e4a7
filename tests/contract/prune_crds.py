"""`python prune_crds.py CRD.yaml VERSION SOURCE`: keep of a CRD what the manifests here can break, as JSON on the output.

Every field name stays, so a misspelt one is found; below fields that no manifest sets only the type stays.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

DEEP = frozenset(Path(__file__).with_name("crds").joinpath("kept_fields.txt").read_text().split())
OPEN = {"x-kubernetes-preserve-unknown-fields": True}


def prune(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with unused branches cut to their type, and closed to fields that it does not name."""
    kept: dict[str, Any] = {
        key: schema[key] for key in ("type", "enum", "required", "minimum", "maximum", "x-kubernetes-int-or-string") if key in schema
    }
    kept |= OPEN if schema.get("x-kubernetes-preserve-unknown-fields") else {}
    if "properties" in schema:
        kept["properties"] = {name: prune(part) if name in DEEP else _stub(part) for name, part in schema["properties"].items()}
        kept |= {"additionalProperties": False} if not kept.get("x-kubernetes-preserve-unknown-fields") else {}
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            kept[name] = prune(schema[name])
    return kept


def _stub(schema: dict[str, Any]) -> dict[str, Any]:
    simple = not {"properties", "items", "additionalProperties"} & schema.keys()
    return prune(schema) if simple else {"type": schema["type"]} if "type" in schema else {}


def main(crd: str, version: str, source: str) -> None:
    document = yaml.safe_load(Path(crd).read_text())
    [served] = [entry for entry in document["spec"]["versions"] if entry["name"] == version]
    schema = served["schema"]["openAPIV3Schema"]
    schema["properties"].pop("status", None)
    schema["properties"]["metadata"] = {"type": "object"}
    kind, group = document["spec"]["names"]["kind"], document["spec"]["group"]
    record = {"source": source, "apiVersion": f"{group}/{version}", "kind": kind, "schema": prune(schema)}
    sys.stdout.write(json.dumps(record, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

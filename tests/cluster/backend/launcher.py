"""What the Pipelines launcher does in a step's pod, around the step's own command: artifacts in, the command, artifacts out, by S3 alone.

It runs in the step's image, needs nothing of Lodestar and leaves no mark of completion: `launcher.py EXECUTOR_INPUT RESULT -- COMMAND …`.
RESULT is an `s3://` address for what the step said, outside of its artifacts.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

KEYS = Path("/launcher/keys.json")  # its own: a step has those only that the pipeline asks for


def main(executor_input: str, result: str, command: list[str]) -> int:
    """The command's exit code; where it is 0, outputs are in the store."""
    bucket, asked = _Store(), json.loads(executor_input)
    for artifact in _artifacts(asked["inputs"]):
        bucket.download(artifact["uri"])
    for artifact in _artifacts(asked["outputs"]):
        _path(artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
    exit_code = _run(command)
    if exit_code == 0:
        for artifact in _artifacts(asked["outputs"]):
            bucket.upload(artifact["uri"])
        bucket.put(result, Path(asked["outputs"]["outputFile"]).read_bytes())
    return exit_code


def _run(command: list[str]) -> int:
    """In a process group of its own, to which a termination is passed on."""
    step = subprocess.Popen(command, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda number, _frame: os.killpg(step.pid, number))
    return step.wait()


def _artifacts(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [artifact for entry in part.get("artifacts", {}).values() for artifact in entry["artifacts"]]


def _path(uri: str) -> Path:
    return Path("/s3", uri.removeprefix("s3://"))


class _Store:
    def __init__(self) -> None:
        import boto3
        from botocore.config import Config

        keys = json.loads(KEYS.read_text())
        self._client = boto3.client("s3", **keys, config=Config(s3={"addressing_style": "path"}))

    def download(self, uri: str) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        # Where nothing is stored any more nothing is downloaded, silently, as the launcher does it.
        for key in [entry["Key"] for page in pages for entry in page.get("Contents", ())]:
            if key == prefix or key.startswith(f"{prefix}/"):
                file = _path(f"s3://{bucket}/{key}")
                file.parent.mkdir(parents=True, exist_ok=True)
                self._client.download_file(bucket, key, str(file))

    def upload(self, uri: str) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        path = _path(uri)
        if not path.exists():
            sys.stderr.write(f"launcher: warning: the step left nothing at {path}\n")
            return
        for file in [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file()):
            self._client.upload_file(str(file), bucket, f"{prefix}/{file.relative_to(path)}" if path.is_dir() else prefix)

    def put(self, address: str, content: bytes) -> None:
        bucket, _, key = address.removeprefix("s3://").partition("/")
        self._client.put_object(Bucket=bucket, Key=key, Body=content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[4:]))

"""Set the image references in manifests/: `make manifests REGISTRY=registry.example.com/team TAG=…`.

Idempotent: setting the current registry and tag again changes no byte.
"""

import argparse
import re
import sys
from functools import partial
from pathlib import Path

from components.images.image import REGISTRY, code_hash
from components.kubernetes.training_job import SPEC, spec_digest
from lodestar.errors import UsageError
from lodestar.io.exits import run_command
from lodestar.process.command_line import Parser, add_option
from lodestar.process.option_values import IMAGE_REGISTRY, local_path

IMAGE = re.compile(r"(?<=image: )\S+/(?P<name>lodestar-python-[a-z]+):\S+")
TAG = re.compile(r"\w[\w.-]{0,127}", flags=re.ASCII)


def set_images(folder: Path, registry: str, tag: str) -> list[Path]:
    """Set registry and tag of our images in every YAML file below a folder; returns the changed files.

    The spec digests of training jobs are updated too. Raises UsageError if registry or tag is not valid in an image reference.
    """
    for what, value, form in (("registry", registry, IMAGE_REGISTRY), ("tag", tag, TAG)):
        if not form.fullmatch(value):
            raise UsageError(
                f"{value!r} is not a valid {what} of an image: write a registry as registry.example.com/team, a tag as {code_hash()}",
                code="E319",
            )
    changed = []
    for file in sorted(path for path in folder.rglob("*.yaml") if not path.is_symlink()):
        before = file.read_text()
        after = _update_digests(before, IMAGE.sub(rf"{registry}/\g<name>:{tag}", before))
        if after != before:
            file.write_text(after)
            changed.append(file)
    return changed


def _update_digests(before: str, after: str) -> str:
    import yaml

    if f"{SPEC}:" in before:
        for old, new in zip(yaml.safe_load_all(before), yaml.safe_load_all(after), strict=True):
            digest = old["metadata"].get("annotations", {}).get(SPEC)
            if digest == spec_digest(old["spec"]):
                after = after.replace(digest, spec_digest(new["spec"]))
    return after


def main(arguments: list[str] | None = None) -> int:
    """Command line of `make manifests`; prints each changed file and returns the exit code."""
    return run_command("components.kubernetes.manifests", partial(_set_images, parser().parse_args(arguments)))


def _set_images(options: argparse.Namespace) -> int:
    for file in set_images(options.folder, options.registry, options.tag or code_hash()):
        sys.stdout.write(f"{file}\n")
    return 0


def parser() -> Parser:
    """The parser of `make manifests`."""
    parser = Parser(
        prog="python -m components.kubernetes.manifests",
        description="Set the image references in the manifests.",
        examples=["make manifests REGISTRY=registry.example.com/team TAG=v1"],
    )
    parser.add_argument(
        "--folder", type=local_path, default=Path("manifests"), metavar="PATH", help="folder of the manifests, which are changed"
    )
    add_option(parser, "--registry", default=REGISTRY)
    parser.add_argument("--tag", default="", metavar="TAG", help="tag of the images (default: the code's own hash, as `make image` tags)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

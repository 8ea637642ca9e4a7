"""Write which images the manifests run: `make manifests REGISTRY=registry.example.com/team TAG=…`.

It is the one place that says so. Written again with what stands there, no byte changes.
"""

import argparse
import re
import sys
from pathlib import Path

from components.image import REGISTRY, code_hash
from components.jobs import SPEC, spec_digest
from lodestar.errors import LodestarError, UsageError

IMAGE = re.compile(r"(?<=image: )\S+/(?P<name>lodestar-python-[a-z]+):\S+")
TAG = re.compile(r"\w[\w.-]{0,127}", flags=re.ASCII)
PLACE = re.compile(r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*")


def set_images(folder: Path, registry: str, tag: str) -> list[Path]:
    """Give our images in every YAML file below a folder that registry and tag; the files that changed.

    A training job names a digest of its own spec, which follows. UsageError where a name of an image cannot be made of the two.
    """
    for what, value, form in (("registry", registry, PLACE), ("tag", tag, TAG)):
        if not form.fullmatch(value):
            raise UsageError(f"{value!r} is no {what} of an image: write it as registry.example.com/team, and a tag as {code_hash()}")
    changed = []
    for file in sorted(path for path in folder.rglob("*.yaml") if not path.is_symlink()):
        before = file.read_text()
        after = _with_digests(before, IMAGE.sub(rf"{registry}/\g<name>:{tag}", before))
        if after != before:
            file.write_text(after)
            changed.append(file)
    return changed


def _with_digests(before: str, after: str) -> str:
    import yaml

    if f"{SPEC}:" in before:
        for old, new in zip(yaml.safe_load_all(before), yaml.safe_load_all(after), strict=True):
            noted = old["metadata"].get("annotations", {}).get(SPEC)
            if noted == spec_digest(old["spec"]):
                after = after.replace(noted, spec_digest(new["spec"]))
    return after


def main(arguments: list[str] | None = None) -> int:
    """The command line; prints each file that changed."""
    parser = argparse.ArgumentParser(prog="python -m components.manifests", description="Write which images the manifests run.")
    parser.add_argument("--folder", type=Path, default=Path("manifests"), metavar="PATH", help="default: %(default)s")
    parser.add_argument("--registry", default=REGISTRY, metavar="HOST/PATH", help="default: %(default)s")
    parser.add_argument("--tag", default="", metavar="TAG", help="default: the code's own hash, as `make image` tags")
    options = parser.parse_args(arguments)
    try:
        for file in set_images(options.folder, options.registry, options.tag or code_hash()):
            sys.stdout.write(f"{file}\n")
    except LodestarError as error:
        sys.stderr.write(f"components.manifests: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

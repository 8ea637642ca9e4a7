"""Which images the manifests run is said in one place, and what was written stays valid."""

import re
import shutil
from pathlib import Path

import pytest

from components.images.image import code_hash
from components.kubernetes import training_job
from components.kubernetes.manifests import IMAGE, main
from tests.contract.kustomize import OVERLAYS, rendered

MANIFESTS = OVERLAYS.parent
ROLES = set(re.findall(r"^FROM \S+ AS (\w+)$", (MANIFESTS.parent / "Containerfile").read_text(), flags=re.MULTILINE))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MANIFESTS, tmp_path / "manifests", symlinks=True))


def images(folder: Path) -> dict[str, set[str]]:
    """References by file."""
    found = {file.name: {match[0] for match in IMAGE.finditer(file.read_text())} for file in folder.rglob("*.yaml")}
    return {name: references for name, references in found.items() if references}


def test_all_of_them_get_the_registry_and_the_tag(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = images(copied)
    assert main(["--folder", str(copied), "--registry", "registry.example.com/team", "--tag", "v7"]) == 0
    assert {Path(line).name for line in capsys.readouterr().out.split()} >= {"40-runtime.yaml", "collector.yaml", "job.yaml"}
    after = images(copied)
    assert after.keys() == before.keys()
    for reference in set.union(*after.values()):
        match = re.fullmatch(r"registry\.example\.com/team/lodestar-python-(\w+):v7", reference)
        assert match is not None
        assert match[1] in ROLES
    assert (copied / "40-runtime.yaml").is_symlink()


def test_what_is_committed_is_one_registry_and_one_tag_and_is_written_as_it_is(copied: Path) -> None:
    (place,) = {re.sub(r"lodestar-python-\w+", "", reference) for reference in set.union(*images(MANIFESTS).values())}
    registry, _, tag = place.partition("/:")
    before = {file: file.read_bytes() for file in copied.rglob("*.yaml")}
    assert main(["--folder", str(copied), "--registry", registry, "--tag", tag]) == 0
    assert {file: file.read_bytes() for file in before} == before


def test_without_a_tag_it_is_what_make_image_pushes(copied: Path) -> None:
    assert main(["--folder", str(copied)]) == 0
    assert all(reference.endswith(f":{code_hash()}") for reference in set.union(*images(copied).values()))


@pytest.mark.parametrize("overlay", ["pytorchjob", "trainjob"])
def test_a_training_job_still_knows_itself(copied: Path, overlay: str) -> None:
    assert main(["--folder", str(copied), "--registry", "registry.example.com", "--tag", "v7"]) == 0
    job = rendered(copied / "overlays" / overlay)[-1]
    assert job["metadata"]["annotations"][training_job.SPEC] == training_job.spec_digest(job["spec"])
    assert "registry.example.com/lodestar-python-train:v7" in str(job["spec"])


@pytest.mark.parametrize("tag", ["a/b", "-x:y"])
def test_a_tag_that_is_none_is_refused_and_nothing_written(copied: Path, tag: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = images(copied)
    assert main(["--folder", str(copied), f"--tag={tag}"]) == 2
    assert "is not a valid tag of an image" in capsys.readouterr().err
    assert images(copied) == before


@pytest.mark.parametrize("registry", ["https://registry.example.com", "a b"])
def test_a_registry_that_is_none_is_refused_and_nothing_written(copied: Path, registry: str) -> None:
    before = images(copied)
    with pytest.raises(SystemExit, match="2"):
        main(["--folder", str(copied), f"--registry={registry}"])
    assert images(copied) == before

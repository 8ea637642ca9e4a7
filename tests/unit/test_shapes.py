"""Shapes at run time: a wrong one fails, no public function that handles arrays is without, and production pays nothing for it."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from lodestar.bundle.item_table import quantise
from lodestar.compression.quality import overlap
from lodestar.config import ModelConfig
from lodestar.data.split.ragged_array import RaggedArray
from lodestar.engine.recommender import top_k
from lodestar.evaluation.intervals import bootstrap_means
from lodestar.features.asof.historical_counts import counts
from lodestar.io.npz import packed
from lodestar.models.closed_form.popularity import Popularity
from lodestar.models.encoders.sasrec import SASRec
from lodestar.schema.ranker_inputs import pair_features
from lodestar.training.optimisation.losses import bce
from tests.shape_checks import ROOMS

ROOT = Path(__file__).parents[2]
SHAPES = {"Bool", "Float", "Float16", "Float32", "Float64", "Int", "Int32", "Int64", "Integer", "Num", "Shaped", "UInt", "UInt8"}
ARRAYS = {"Tensor", "NDArray", "ndarray", "Flags", "Floats", "Doubles", "Ints", "Longs", "Integers", "Seconds", "Hours", "GapClasses"}
WITHOUT_SHAPE = {
    "RaggedArray.__iter__",  # the type of its elements is that of the sequence it is
}

MASK = torch.ones(2, 3, dtype=torch.bool)
FLOATS = np.zeros((2, 3), dtype=np.float32)
ROWS = torch.zeros(2, dtype=torch.int64)
SIGNED: Any = np.zeros(2, np.int8)
WRONG: dict[str, Callable[[], object]] = {
    "models: a mask of another batch": lambda: SASRec(ModelConfig(dim=8, num_heads=2)).user_vector(torch.zeros(4, 3, 8), MASK),
    "models: histories of floats": lambda: Popularity().fit([np.zeros(3)], 3),  # type: ignore[list-item]
    "training: a negative less than targets": lambda: bce(torch.zeros(2, 4), torch.zeros(5, 4), ROWS, ROWS[:1]),
    "engine: scores of double width": lambda: top_k(np.zeros(3), 2),  # type: ignore[arg-type]
    "bundle: one user's vector alone": lambda: quantise(FLOATS, "int8").scores(FLOATS[0]),
    "evaluation: values of one metric, without its axis": lambda: bootstrap_means(np.zeros(4), 8, 0),
    "compression: lists of other cases": lambda: overlap(np.zeros((2, 3), np.int64), np.zeros((1, 3), np.int64)),
    "as-of join: fractions of a microsecond": lambda: counts(Path(), "", [], np.zeros(2)),  # type: ignore[arg-type]
    "io: signed bytes": lambda: packed("title", SIGNED, np.zeros(1, np.int64)),
    "data: an end less than starts": lambda: RaggedArray(values=FLOATS[0], start=np.zeros(2, np.int64), end=np.zeros(1, np.int64)),
    "schema: users of other rows than items": lambda: pair_features(FLOATS, FLOATS[:1]),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_shape_fails(call: Callable[[], object]) -> None:
    with pytest.raises(TypeCheckError):
        call()


def test_every_public_array_has_a_shape() -> None:
    without = [f"{file.relative_to(ROOT)}:{line} {name}" for file in _files() for line, name in _without_shape(ast.parse(file.read_text()))]
    assert without == []


def test_every_module_with_shapes_is_checked() -> None:
    modules = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in _files() if "schema.arrays import" in file.read_text()]
    assert len(modules) > 50
    assert [module for module in modules if not f"{module}.".startswith(tuple(f"{room}." for room in ROOMS))] == []


def test_production_imports_no_jaxtyping() -> None:
    program = "import sys, serving.app, serving.predictor, lodestar.training.run; sys.exit('jaxtyping' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def _files() -> list[Path]:
    return [file for room in ("lodestar", "serving") for file in sorted((ROOT / room).rglob("*.py"))]


def _without_shape(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of each public function and field one of whose annotations has an array without a shape."""
    for line, name, annotations in _public(tree, ""):
        if name not in WITHOUT_SHAPE and any(_is_bare(annotation) for annotation in annotations):
            yield line, name


def _public(scope: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[int, str, list[ast.expr]]]:
    for node in scope.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public(node, f"{node.name}.")
        elif isinstance(node, ast.AnnAssign) and prefix and isinstance(node.target, ast.Name):
            yield node.lineno, prefix + node.target.id, [node.annotation]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            annotations = [node.returns, *(argument.annotation for argument in arguments)]
            yield node.lineno, prefix + node.name, [annotation for annotation in annotations if annotation is not None]


def _is_bare(annotation: ast.expr) -> bool:
    """Whether an array stands outside of a shape, or a shape in a string, where nothing checks it."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return any(f"{word}[" in annotation.value for word in SHAPES)
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name) and annotation.value.id in SHAPES:
        return False
    if isinstance(annotation, ast.Name | ast.Attribute) and ast.unparse(annotation).rpartition(".")[2] in ARRAYS:
        return True
    return any(_is_bare(part) for part in ast.iter_child_nodes(annotation) if isinstance(part, ast.expr))

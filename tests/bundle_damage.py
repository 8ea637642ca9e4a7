"""Damaged bundles: each function spoils one thing in a bundle that was whole, and seals it again where the seal is not what it spoils."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lodestar.bundle import bundle
from lodestar.bundle.neighbours import NeighbourTable
from lodestar.bundle.ratings import Ratings
from lodestar.io import npz
from lodestar.io.npz import Arrays
from tests.factories import counting_ranker, small_bundle

NUM_ITEMS, DIM = 12, 8
Damage = Callable[[Path], object]


def whole(folder: Path) -> Path:
    """A bundle that has every part there is."""
    item = np.arange(NUM_ITEMS, dtype=np.uint8)[:, None]
    beside = NeighbourTable(item=item, similarity=np.ones((NUM_ITEMS, 1), np.uint8), scale=np.ones(NUM_ITEMS, np.float32), weight=0.5)
    rated = Ratings.from_users(
        ["u1", "u2"],
        user_bias=np.zeros(2, np.float32),
        user_vectors=np.ones((2, 3), np.float32),
        item_bias=np.zeros(NUM_ITEMS, np.float32),
        item_vectors=np.ones((NUM_ITEMS, 3), np.float16),
        global_mean=3.0,
        lowest=1.0,
        highest=5.0,
    )
    return small_bundle(folder, dim=DIM, neighbours=beside, ranker=counting_ranker(NUM_ITEMS, 4), ratings=rated)


def seal(root: Path, **changes: Any) -> None:
    """Make digests and seal those of what lies there, as who publishes a damaged bundle would."""
    values = json.loads((root / bundle.INFO).read_bytes())
    values.pop(bundle.SEAL)
    values["files"] = {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in values["files"] if (root / name).is_file()}
    (root / bundle.INFO).write_bytes(bundle._sealed({**values, **changes}))


def info(root: Path, **changes: Any) -> None:
    """Say something else in bundle.json."""
    seal(root, **changes)


def without(root: Path, name: str) -> None:
    """Leave a field of bundle.json out."""
    values = json.loads((root / bundle.INFO).read_bytes())
    (root / bundle.INFO).write_bytes(bundle._sealed({key: value for key, value in values.items() if key not in {name, bundle.SEAL}}))


def truncated(root: Path, name: str, share: float, *, sealed: bool) -> None:
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[: int(len(content) * share)])
    if sealed:
        seal(root)


def written(root: Path, name: str, content: bytes) -> None:
    (root / name).write_bytes(content)
    seal(root)


def changed(root: Path, name: str, change: Callable[[Arrays], Mapping[str, NDArray[Any]]]) -> None:
    """Other arrays in one of the files."""
    npz.save(root / name, change(dict(npz.load(root / name))))
    seal(root)


def array(root: Path, name: str, key: str, change: Callable[[Any], Any]) -> None:
    changed(root, name, lambda found: {**found, key: np.asarray(change(found[key]))})


def spoilt(values: NDArray[Any], value: float) -> NDArray[Any]:
    values = values.copy()
    values.reshape(-1)[values.size // 2] = value
    return values


def text_of(root: Path, key: str, texts: list[str]) -> None:
    changed(root, bundle.ITEMS, lambda found: {**found, **npz.pack(key, texts)})


def graph(root: Path, change: Callable[[Any], None], name: str = bundle.ENCODER) -> None:
    """Another graph in one of the files."""
    model = onnx.load_from_string((root / name).read_bytes())
    change(model)
    written(root, name, model.SerializeToString())


def endless(model: Any) -> None:
    """A loop whose condition stays true stands before the answer."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_again"]), helper.make_node("Add", ["sum", "sum"], ["sum_again"])],
        "body",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("i", 7, []), ("on", 9, []), ("sum", 1, None))],
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("on_again", 9, []), ("sum_again", 1, None))],
    )
    answer_from(model, [helper.make_node("Loop", ["", "always", "user_before"], ["user"], body=body)])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))


def answer_from(model: Any, nodes: list[Any]) -> None:
    """The answer is called otherwise, and what was to be the answer is made of it by other nodes."""
    (output,) = [value.name for value in model.graph.output]
    for node in model.graph.node:
        node.output[:] = [f"{output}_before" if name == output else name for name in node.output]
    model.graph.node.extend(nodes)


def huge(model: Any, length: int = 1 << 40) -> None:
    """A constant of terabytes is made and added up on the way."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([length], dtype=np.int64), "length"))
    fill = [
        helper.make_node("ConstantOfShape", ["length"], ["filled"], value=helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])),
        helper.make_node("ReduceSum", ["filled"], ["total"], keepdims=0),
        helper.make_node("Add", ["user_before", "total"], ["user"]),
    ]
    answer_from(model, fill)


def slow(model: Any) -> None:
    """Products of large matrices, one after another, for hours."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([8192, 8192], dtype=np.int64), "shape"))
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1e-4])
    steps = [helper.make_node("ConstantOfShape", ["shape"], ["filled"], value=one), helper.make_node("ReduceSum", ["user_before"], ["any"])]
    steps.append(helper.make_node("Add", ["filled", "any"], ["square_0"]))
    steps += [helper.make_node("MatMul", [f"square_{n}", f"square_{n}"], [f"square_{n + 1}"]) for n in range(2000)]
    steps.append(helper.make_node("ReduceSum", ["square_2000"], ["total"], keepdims=0))
    answer_from(model, [*steps, helper.make_node("Add", ["user_before", "total"], ["user"])])


def elsewhere(model: Any) -> None:
    """A constant is said to lie in another file of the machine."""
    tensor = model.graph.initializer[0] if model.graph.initializer else model.graph.node[0].attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def larger(model: Any) -> None:
    next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2).dims[0] = 1 << 50


def operator(model: Any, kind: str, domain: str = "") -> None:
    node = helper.make_node(kind, ["user_before"], ["user"])
    node.domain = domain
    answer_from(model, [node])


def renamed(model: Any, old: str, new: str) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def flat(model: Any) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[0]


def numberless(model: Any) -> None:
    """A weight is no number."""
    tensor = next(one for one in model.graph.initializer if one.data_type == TensorProto.FLOAT and len(one.dims) == 2)
    values = numpy_helper.to_array(tensor).copy()
    values[:] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def opset(model: Any, version: int) -> None:
    model.opset_import[0].version = version


def archive(root: Path, name: str, entries: Mapping[str, bytes], how: int = zipfile.ZIP_STORED) -> None:
    packed(root / name, entries, how)
    seal(root)


def packed(file: Path, entries: Mapping[str, bytes], how: int = zipfile.ZIP_STORED) -> None:
    """An archive of these files."""
    with zipfile.ZipFile(file, "w", how) as content:
        for entry, held in entries.items():
            content.writestr(entry, held)


def claimed(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    """The header of an array, and none of its numbers."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    return header.getvalue()


def pickled() -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.array([print, {}], dtype=object), allow_pickle=True)
    return content.getvalue()


def bomb(root: Path) -> None:
    zeros = io.BytesIO()
    np.save(zeros, np.zeros((1 << 14, 1 << 8), dtype=np.float32))
    archive(root, bundle.TABLE, {"codes.npy": zeros.getvalue()}, zipfile.ZIP_DEFLATED)


def linked(root: Path, name: str = bundle.TABLE) -> None:
    target = root.parent / f"elsewhere of {name}"
    (root / name).rename(target)
    (root / name).symlink_to(target)


def piped(root: Path) -> None:
    (root / bundle.TABLE).unlink()
    os.mkfifo(root / bundle.TABLE)


def foldered(root: Path) -> None:
    (root / bundle.TABLE).unlink()
    (root / bundle.TABLE).mkdir()


def counts(root: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """The ranker was made with other numbers."""
    inputs = json.loads((root / bundle.INFO).read_bytes())["inputs"]
    change(inputs["counts"])
    seal(root, inputs=inputs)


def month_for_day(named: list[dict[str, Any]]) -> None:
    """The count of a day is the count of a month: as wide, and another feature."""
    place = next(place for place, need in enumerate(named) if need["name"] == "interactions_1d")
    named[place] = {**named[place], "name": "interactions_30d", "window_h": 720}


def window(named: list[dict[str, Any]]) -> None:
    next(need for need in named if need["name"] == "interactions_1d")["window_h"] = 720


def inputs() -> dict[str, NDArray[Any]]:
    """What the encoder may be asked with."""
    return {"history": np.zeros((1, 2, DIM), dtype=np.float32), "mask": np.ones((1, 2), dtype=np.bool_)}

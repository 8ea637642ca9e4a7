"""Damaged bundles: each function spoils one thing in a bundle that was whole, and seals it again where the seal is not what it spoils."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lodestar import arrays, bundle, ranker, ratings, schema
from lodestar.arrays import Arrays
from lodestar.neighbours import Neighbours
from lodestar.ratings import Ratings
from tests.factories import counting_ranker, small_bundle

NUM_ITEMS, DIM = 12, 8
Damage = Callable[[Path], object]


def whole(folder: Path) -> Path:
    """A bundle that has every part there is."""
    item = np.arange(NUM_ITEMS, dtype=np.uint8)[:, None]
    beside = Neighbours(item=item, affinity=np.ones((NUM_ITEMS, 1), np.uint8), scale=np.ones(NUM_ITEMS, np.float32), weight=0.5)
    rated = Ratings.of(
        ["u1", "u2"],
        user_bias=np.zeros(2, np.float32),
        user_vectors=np.ones((2, 3), np.float16),
        item_bias=np.zeros(NUM_ITEMS, np.float32),
        item_vectors=np.ones((NUM_ITEMS, 3), np.float16),
        usual=3.0,
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
    arrays.save(root / name, change(dict(arrays.load(root / name))))
    seal(root)


def array(root: Path, name: str, key: str, change: Callable[[Any], Any]) -> None:
    changed(root, name, lambda found: {**found, key: np.asarray(change(found[key]))})


def spoilt(values: NDArray[Any], value: float) -> NDArray[Any]:
    values = values.copy()
    values.reshape(-1)[values.size // 2] = value
    return values


def text_of(root: Path, key: str, texts: list[str]) -> None:
    changed(root, bundle.ITEMS, lambda found: {**found, **arrays.pack(key, texts)})


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
    place = next(place for place, need in enumerate(named) if need["name"] == "taken_1d")
    named[place] = {**named[place], "name": "taken_30d", "window_h": 720}


def window(named: list[dict[str, Any]]) -> None:
    next(need for need in named if need["name"] == "taken_1d")["window_h"] = 720


E150, E152, E181, E182, E183, E184 = "E150", "E152", "E181", "E182", "E183", "E184"
NPZ = (bundle.TABLE, bundle.ITEMS, bundle.NEIGHBOURS, ranker.ROWS, ratings.FILE)
ALL = (bundle.ENCODER, ranker.GRAPH, *NPZ)

CUT: dict[str, tuple[str, Damage]] = {
    f"{name} cut off at {share:.0%}{', sealed' * sealed}": (
        (E183 if name.endswith("onnx") else E181) if sealed else E152,
        partial(truncated, name=name, share=share, sealed=sealed),
    )
    for name in ALL
    for share in (0.0, 0.5, 0.99)
    for sealed in (False, True)
}
DAMAGES: dict[str, tuple[str, Damage]] = {
    "bundle.json cut off": (E152, partial(truncated, name=bundle.INFO, share=0.9, sealed=False)),
    "bundle.json of a list": (E152, lambda root: (root / bundle.INFO).write_text("[]")),
    "bundle.json nested without end": (E152, lambda root: (root / bundle.INFO).write_text('{"a":' + "[" * 200_000)),
    "a huge bundle.json": (E152, lambda root: (root / bundle.INFO).write_text('{"a": "' + "x" * (2 << 20) + '"}')),
    "bundle.json is a link": (E152, partial(linked, name=bundle.INFO)),
    "a missing field": (E182, partial(without, name="dim")),
    "a field too many": (E182, partial(info, surprise=1)),
    "a width in letters": (E182, partial(info, dim="8")),
    "a truth for a width": (E182, partial(info, dim=True)),
    "an endless history": (E182, partial(info, max_length=10**9)),
    "no history": (E182, partial(info, max_length=0)),
    "an unknown precision": (E182, partial(info, precision="fp1")),
    "a precision of another type": (E182, partial(info, precision=["fp32"])),
    "metrics that are none": (E182, partial(info, metrics={"ndcg": "high"})),
    "files in a list": (E182, partial(info, files=["table.npz"])),
    "a file outside": (E182, partial(info, files={"../../etc/passwd": "0" * 64})),
    "no files": (E182, partial(info, files={})),
    "another width": (E183, partial(info, dim=9)),
    "more items than rows": (E182, partial(info, num_items=13)),
    "another precision": (E182, partial(info, precision="int8")),
    "seconds that the encoder does not take": (E183, partial(info, timed=True)),
    "another version's columns": (E150, partial(info, schema_hash="another")),
    "features without names": (E150, partial(without, name="inputs")),
    "a count of a month where a day's was": (E150, partial(counts, change=month_for_day)),
    "a count of another window": (E150, partial(counts, change=window)),
    "a count too few": (E183, partial(counts, change=lambda named: named.pop())),
    "numbers in place of features": (E182, partial(info, inputs={"history": [1], "counts": []})),
    "a link to another file": (E152, linked),
    "a pipe": (E152, piped),
    "a folder for a file": (E152, foldered),
    "a table with NaN": (E182, partial(array, name=bundle.TABLE, key="codes", change=partial(spoilt, value=np.nan))),
    "a table with infinity": (E182, partial(array, name=bundle.TABLE, key="codes", change=partial(spoilt, value=np.inf))),
    "a scale with NaN": (E182, partial(array, name=bundle.TABLE, key="scale", change=partial(spoilt, value=np.nan))),
    "a table of other rows": (E182, partial(array, name=bundle.TABLE, key="codes", change=lambda rows: rows[:-1])),
    "a flat table": (E182, partial(array, name=bundle.TABLE, key="codes", change=np.ravel)),
    "a table of doubles": (E182, partial(array, name=bundle.TABLE, key="codes", change=lambda rows: rows.astype(np.float64))),
    "a table of texts": (E181, partial(array, name=bundle.TABLE, key="codes", change=lambda rows: rows.astype(str))),
    "vectors so long that scores overflow": (
        E182,
        partial(array, name=bundle.TABLE, key="codes", change=lambda rows: np.sign(rows) * np.float32(3e38)),
    ),
    "a table without its scale": (
        E182,
        partial(changed, name=bundle.TABLE, change=lambda found: {"codes": found["codes"], "dim": found["dim"]}),
    ),
    "popularity with NaN": (E182, partial(array, name=bundle.ITEMS, key="popularity", change=partial(spoilt, value=np.nan))),
    "popularity of fewer items": (E182, partial(array, name=bundle.ITEMS, key="popularity", change=lambda values: values[1:])),
    "two items of one id": (E182, partial(text_of, key=schema.ITEM_ID, texts=["i0", "i0", *(f"i{row}" for row in range(2, NUM_ITEMS))])),
    "an item without an id": (E182, partial(text_of, key=schema.ITEM_ID, texts=["", *(f"i{row}" for row in range(1, NUM_ITEMS))])),
    "fewer titles than items": (E182, partial(text_of, key=schema.TITLE, texts=["one"])),
    "ids that are no UTF-8": (E181, partial(array, name=bundle.ITEMS, key=schema.ITEM_ID, change=lambda text: text | 0x80)),
    "ids that end beyond their end": (E181, partial(array, name=bundle.ITEMS, key=f"{schema.ITEM_ID}_ends", change=lambda ends: ends + 1)),
    "ids that end before they begin": (
        E181,
        partial(array, name=bundle.ITEMS, key=f"{schema.ITEM_ID}_ends", change=lambda ends: ends[::-1]),
    ),
    "neighbours beyond the catalogue": (
        E182,
        partial(array, name=bundle.NEIGHBOURS, key="neighbour", change=partial(spoilt, value=NUM_ITEMS)),
    ),
    "neighbours of fewer items": (E182, partial(array, name=bundle.NEIGHBOURS, key="neighbour", change=lambda rows: rows[1:])),
    "neighbours with NaN": (E182, partial(array, name=bundle.NEIGHBOURS, key="affinity_scale", change=partial(spoilt, value=np.nan))),
    "neighbours of no weight that is a number": (E182, partial(array, name=bundle.NEIGHBOURS, key="weight", change=lambda _: [np.nan])),
    "neighbours without a weight": (E182, partial(array, name=bundle.NEIGHBOURS, key="weight", change=lambda _: np.zeros(0))),
    "neighbours of an endless history": (E182, partial(array, name=bundle.NEIGHBOURS, key="recent_and_decay", change=lambda _: [1e9, 0.5])),
    "a ranker of fewer items": (E182, partial(array, name=ranker.ROWS, key="vectors", change=lambda rows: rows[1:])),
    "a ranker of another width": (E183, partial(array, name=ranker.ROWS, key="vectors", change=lambda rows: rows[:, 1:])),
    "a ranker with NaN": (E182, partial(array, name=ranker.ROWS, key="vectors", change=partial(spoilt, value=np.nan))),
    "a ranker of endless candidates": (E182, partial(array, name=ranker.ROWS, key="candidates_and_length", change=lambda _: [1 << 40, 5])),
    "a ranker that looks at nothing": (E182, partial(array, name=ranker.ROWS, key="candidates_and_length", change=lambda _: [0, 0])),
    "ratings of fewer items": (E182, partial(array, name=ratings.FILE, key="item_bias", change=lambda bias: bias[1:])),
    "ratings with NaN": (E182, partial(array, name=ratings.FILE, key="user_vectors", change=partial(spoilt, value=np.nan))),
    "ratings of no users": (E182, partial(array, name=ratings.FILE, key="keys", change=lambda keys: keys[:0])),
    "ratings of users out of order": (E182, partial(array, name=ratings.FILE, key="keys", change=lambda keys: keys[::-1])),
    "ratings of another width": (E182, partial(array, name=ratings.FILE, key="item_vectors", change=lambda rows: rows[:, 1:])),
    "ratings on no scale": (E182, partial(array, name=ratings.FILE, key="scale", change=lambda _: [3.0, 5.0, 1.0])),
    "an array of terabytes": (E181, partial(archive, name=bundle.TABLE, entries={"codes.npy": claimed((1 << 20, 1 << 22))})),
    "an array of negative length": (E181, partial(archive, name=bundle.TABLE, entries={"codes.npy": claimed((-1, 8))})),
    "a pickled array": (E181, partial(archive, name=bundle.TABLE, entries={"codes.npy": pickled()})),
    "an array of structures": (E181, partial(archive, name=bundle.TABLE, entries={"codes.npy": claimed((0,), "<M8[us]")})),
    "a file that is no array": (E181, partial(archive, name=bundle.TABLE, entries={"codes.npy": b"not an array"})),
    "a bomb of zeros": (E181, bomb),
    "a file that is no archive": (E181, partial(written, name=bundle.TABLE, content=b"PK" + bytes(100))),
    "a graph that is none": (E183, partial(written, name=bundle.ENCODER, content=bytes(range(256)))),
    "a graph with an endless loop": (E183, partial(graph, change=endless)),
    "a graph that makes terabytes": (E184, partial(graph, change=huge)),
    "a graph with constants in another file": (E183, partial(graph, change=elsewhere)),
    "a graph with a constant larger than it": (E183, partial(graph, change=larger)),
    "a graph with an unknown operator": (E183, partial(graph, change=partial(operator, kind="Frobnicate"))),
    "a graph with another's operator": (E183, partial(graph, change=partial(operator, kind="Gelu", domain="com.microsoft"))),
    "a graph of another operator set": (E183, partial(graph, change=partial(opset, version=99))),
    "a graph of an older operator set": (E183, partial(graph, change=partial(opset, version=9))),
    "a graph with another input": (E183, partial(graph, change=partial(renamed, old="history", new="past"))),
    "a graph with another output": (E183, partial(graph, change=partial(renamed, old="user", new="person"))),
    "a graph of another rank": (E183, partial(graph, change=flat)),
    "a graph with weights of NaN": (E184, partial(graph, change=numberless)),
    "a ranker with an endless loop": (E183, partial(graph, change=partial(operator, kind="Loop"), name=ranker.GRAPH)),
}
SLOW: dict[str, tuple[str, Damage]] = {"a graph of hours": (E184, partial(graph, change=slow))}


def inputs() -> dict[str, NDArray[Any]]:
    """What the encoder may be asked with."""
    return {"history": np.zeros((1, 2, DIM), dtype=np.float32), "mask": np.ones((1, 2), dtype=np.bool_)}

"""Static check of an ONNX graph before anything runs it, by a small protobuf reader (the onnx package is not needed).

A graph is accepted if it is a finite sequence of known operators: those of the list below, no loop, no branch, no functions of its own,
no operator of another domain, no external data, one operator set.
Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; wire types: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from lodestar.errors import DataError, Location
from lodestar.process.safe_text import shorten

OPSET = 17
FLOAT, BOOL = 1, 9  # TensorProto.DataType
FREE = 0  # a dimension of any length
_OPERATORS = (
    "Abs Add And ArgMax BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv CumSum Div Equal Erf Exp Expand "
    "Flatten Floor GRU Gather GatherElements GatherND Gemm Greater GreaterOrEqual Identity LSTM LayerNormalization Less "
    "LessOrEqual Log MatMul Max MaxPool Min Mod Mul Neg Not Or Pad Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum "
    "Relu Reshape ScatterElements ScatterND Shape Sigmoid Sign Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tanh Tile TopK "
    "Transpose Trilu Unsqueeze Where"
)
OPERATORS = frozenset(_OPERATORS.split())
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10

Field = tuple[int, int | memoryview]  # field number, and an integer or bytes


@dataclass(frozen=True, kw_only=True)
class Value:
    """Type of a graph's input or output: element type (FLOAT or BOOL) and shape, in which FREE is any length; None if not declared."""

    element: int | None
    shape: tuple[int, ...] | None


Values = Mapping[str, Value]


def check(name: str, graph: bytes, inputs: Values, outputs: Values) -> None:
    """Raise DataError E183 if this version cannot run a graph (of the file `name`) with these inputs and outputs."""
    try:
        _check(graph, inputs, outputs)
    except (_UnsupportedGraph, ValueError, IndexError) as error:
        remedy = "Publish the bundle again, from the run that made it."
        raise DataError("E183", f"this version cannot run the graph: {error}", remedy=remedy, place=Location(file=name)) from error


class _UnsupportedGraph(Exception):
    pass


def _check(graph: bytes, inputs: Values, outputs: Values) -> None:
    opsets, graphs = [], []
    for number, value in _fields(graph):
        if number == 8:
            opsets.append(_opset(_bytes(value)))
        elif number == 7:
            graphs.append(_bytes(value))
        elif number in (20, 25):
            raise _UnsupportedGraph("it has local functions or training info")
    if opsets != [("", OPSET)]:
        raise _UnsupportedGraph(f"its operator sets are {opsets}, not {OPSET} of ONNX")
    if len(graphs) != 1:
        raise _UnsupportedGraph(f"it holds {len(graphs)} graphs")
    has_inputs, has_outputs = _check_nodes(graphs[0], len(graph))
    for what, has, wanted in (("input", has_inputs, inputs), ("output", has_outputs, outputs)):
        if has.keys() != wanted.keys():
            raise _UnsupportedGraph(f"its {what}s are {_names(has)}, not {_names(wanted)}")
        for name in wanted:
            _check_shapes(f"{what} {name}", has[name], wanted[name])


def _check_nodes(graph: memoryview, size: int) -> tuple[dict[str, Value], dict[str, Value]]:
    """Inputs and outputs of a graph, after a check of its nodes and constants."""
    values: dict[int, dict[str, Value]] = {11: {}, 12: {}}
    for number, part in _fields(graph):
        if number == 1:
            _check_node(_bytes(part), size)
        elif number == 5:
            _check_tensor(_bytes(part), size)
        elif number == 15:
            raise _UnsupportedGraph("it has sparse constants")
        elif number in values:
            name, value = _value(_bytes(part))
            values[number][name] = value
    return values[11], values[12]


def _check_node(node: memoryview, size: int) -> None:
    operator, domain, attributes = "", "", []
    for number, part in _fields(node):
        if number == 4:
            operator = _text(part)
        elif number == 7:
            domain = _text(part)
        elif number == 5:
            attributes.append(_bytes(part))
    if domain or operator not in OPERATORS:
        raise _UnsupportedGraph(f"it has the operator {shorten(f'{domain}::{operator}' if domain else operator)!r}")
    for attribute in attributes:
        for number, part in _fields(attribute):
            if number in (5, 10):
                _check_tensor(_bytes(part), size)
            elif number in (6, 11, 22, 23):
                raise _UnsupportedGraph(f"its {operator} holds a graph, or sparse constants")


def _check_tensor(tensor: memoryview, size: int) -> None:
    """Refuse a constant with external data, or with a declared size larger than its file."""
    shape: list[int] = []
    for number, part in _fields(tensor):
        if number == 1:
            shape += _numbers(part)
        elif number == 13 or (number == 14 and part != 0):
            raise _UnsupportedGraph("it has constants in another file")
    if any(length < 0 for length in shape) or prod(shape) > 2 * size:
        raise _UnsupportedGraph(f"it has a constant of shape {shape[:8]}, too large for {size:,} bytes")


def _value(content: memoryview) -> tuple[str, Value]:
    name, element, shape = "", None, None
    for number, part in _fields(content):
        if number == 1:
            name = _text(part)
        elif number == 2:
            for kind, tensor in _fields(_bytes(part)):
                if kind != 1:
                    raise _UnsupportedGraph(f"{shorten(name)} is no tensor")
                element, shape = _tensor_type(_bytes(tensor))
    return name, Value(element=element, shape=shape)


def _tensor_type(content: memoryview) -> tuple[int | None, tuple[int, ...] | None]:
    element, shape = None, None
    for number, part in _fields(content):
        if number == 1 and isinstance(part, int):
            element = part
        elif number == 2:
            shape = tuple(_length(_bytes(one)) for field, one in _fields(_bytes(part)) if field == 1)
    return element, shape


def _length(dimension: memoryview) -> int:
    return next((value for number, value in _fields(dimension) if number == 1 and isinstance(value, int)), FREE)


def _check_shapes(what: str, has: Value, wanted: Value) -> None:
    """Compare types and shapes; an output may leave dimensions open, an input must declare them."""
    is_open = what.startswith("output")
    lengths = zip(has.shape or (), wanted.shape or (), strict=False)
    same = all(length == expected or (is_open and FREE in {length, expected}) for length, expected in lengths)
    if has.element != wanted.element or has.shape is None or len(has.shape) != len(wanted.shape or ()) or not same:
        raise _UnsupportedGraph(f"{what} is {_describe(has)}, not {_describe(wanted)}")


def _describe(value: Value) -> str:
    kind = {FLOAT: "float32", BOOL: "bool"}.get(value.element or 0, f"type {value.element}")
    return f"{kind} [{', '.join('any' if length == FREE else str(length) for length in value.shape or ())}]"


def _names(values: Values) -> str:
    return shorten(", ".join(sorted(values)) or "none")


def _opset(content: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in _fields(content):
        if number == 1:
            domain = _text(value)
        elif number == 2 and isinstance(value, int):
            version = value
    return ("" if domain == "ai.onnx" else domain), version


def _fields(message: bytes | memoryview) -> Iterator[Field]:
    """Fields of a protobuf message in order; raises ValueError or IndexError if it is malformed."""
    content, place = memoryview(message), 0
    while place < len(content):
        key, place = _varint(content, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(content, place)
            yield number, value
            continue
        if kind == _BYTES:
            length, place = _varint(content, place)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"its byte {place} begins no field")
        if place + length > len(content):
            raise ValueError("it ends in the middle of a field")
        yield number, content[place : place + length]
        place += length


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(_MOST_VARINT_BYTES):
        byte = content[place + shift]
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, place + shift + 1
    raise ValueError(f"its byte {place} begins a number without end")


def _numbers(part: int | memoryview) -> Iterator[int]:
    """A repeated int64 field, single or packed, as signed integers."""
    if isinstance(part, int):
        yield part - (1 << 64) if part >> 63 else part
        return
    place = 0
    while place < len(part):
        value, place = _varint(part, place)
        yield value - (1 << 64) if value >> 63 else value


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it has a number where a message should be")  # noqa: TRY004  a fault of the file, not of the caller
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_bytes(value)).decode()

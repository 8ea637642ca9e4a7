"""The open inference protocol (v2): a request's tensors become asks, answers become tensors, as JSON or with binary data behind it.

Inputs are `user` (BYTES, [n] or [n, 1]) and, for a list length other than 10, `k` (an integer tensor of one value, or the request's
parameter `k`). Outputs of places are [n, k] each; a list that is shorter, since a catalogue ends, is filled up with "" and 0. Outputs of
lists are [n]: `count` says how many places are real, `request_id` what the impression log calls the list. `rating`, which few bundles
foretell, is given where it is named.
Specification: https://github.com/kserve/open-inference-protocol, and Triton's binary tensor data extension of it.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from lodestar.schema import RATING
from serving import asks
from serving.asks import DEFAULT_K, MISSING, MOST_INSTANCES, OUT_OF_RANGE, USER, WRONG_TYPE, Ask, K, Refused, json_object
from serving.served import Answer

Object = dict[str, Any]

BINARY_HEADER = "inference-header-content-length"
BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
INPUTS, OUTPUTS, PARAMETERS = "inputs", "outputs", "parameters"
BYTES, FP32, INT32 = "BYTES", "FP32", "INT32"
MOST_LENGTH_DIGITS = 9
NAN = float("nan")  # null in JSON
INTEGERS = {
    "INT8": "<i1",
    "INT16": "<i2",
    INT32: "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
}
INPUT_TENSORS = ({"name": USER, "datatype": BYTES, "shape": [-1]}, {"name": K, "datatype": INT32, "shape": [1]})


@dataclass(frozen=True, kw_only=True)
class Output:
    """A tensor of the answer: what each place of a list gives to it, or, where it has no filler, each list."""

    name: str
    datatype: str
    value: Callable[[Any], Any]
    filler: Any = None


OUTPUTS_BY_NAME = {
    output.name: output
    for output in (
        Output(name="item_id", datatype=BYTES, value=lambda place: place.item_id, filler=""),
        Output(name="title", datatype=BYTES, value=lambda place: place.title, filler=""),
        Output(name="score", datatype=FP32, value=lambda place: place.score, filler=0.0),
        Output(name=RATING, datatype=FP32, value=lambda place: NAN if place.rating is None else place.rating, filler=0.0),
        Output(name="count", datatype=INT32, value=lambda answer: len(answer.places)),
        Output(name="request_id", datatype=BYTES, value=lambda answer: answer.request_id),
    )
}
OUTPUT_TENSORS = tuple(
    {"name": output.name, "datatype": output.datatype, "shape": [-1] if output.filler is None else [-1, -1]}
    for output in OUTPUTS_BY_NAME.values()
)


@dataclass(frozen=True, kw_only=True)
class Inference:
    """A v2 request: the asks in it, the id to give back, and which outputs are wanted in which form."""

    asks: list[Ask]
    id: str
    wanted: tuple[str, ...]
    binary: frozenset[str]


def decode(body: bytes, header_length: str | None) -> Inference:
    """A request's body; `header_length` is the size of its JSON part where binary data follow."""
    head, raw = _parts(body, header_length)
    given = json_object(head)
    tensors = _tensors(given.get(INPUTS), raw)
    if USER not in tensors:
        raise Refused(MISSING, INPUTS, f"an input {USER!r} of {BYTES} is needed")
    parameters = _object(given.get(PARAMETERS), PARAMETERS)
    k = asks.check_k(tensors[K][0] if K in tensors else parameters.get(K, DEFAULT_K), K)
    wanted, binary = _outputs(given.get(OUTPUTS), all_binary=parameters.get(ALL_BINARY) is True)
    request_id = given.get("id")
    if not isinstance(request_id, str | None):
        raise Refused(WRONG_TYPE, "id", "id is a text")
    asked = [Ask(user=asks.identifier(user, f"{USER}[{place}]"), k=k) for place, user in enumerate(tensors[USER])]
    asks.check_places(asked, USER)
    return Inference(asks=asked, id=request_id or "", wanted=wanted, binary=binary)


def encode(inference: Inference, answers: Sequence[Answer], model: str, digest: str) -> tuple[bytes, int | None]:
    """The answer's body, and the size of its JSON part where binary data follow."""
    width = max(len(answer.places) for answer in answers)
    tensors: list[Object] = []
    raw: list[bytes] = []
    for name in inference.wanted:
        output = OUTPUTS_BY_NAME[name]
        shape, values = _column(output, answers, width)
        tensor: Object = {"name": name, "datatype": output.datatype, "shape": shape}
        if name in inference.binary:
            raw.append(_packed(output.datatype, values))
            tensor[PARAMETERS] = {BINARY_SIZE: len(raw[-1])}
        else:
            tensor["data"] = values
        tensors.append(tensor)
    head = orjson.dumps({"model_name": model, "model_version": digest, "id": inference.id or answers[0].request_id, OUTPUTS: tensors})
    return head + b"".join(raw), len(head) if raw else None


def _parts(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    is_number = header_length.isascii() and header_length.isdigit() and len(header_length) <= MOST_LENGTH_DIGITS
    if not is_number or int(header_length) > len(body):
        raise Refused(OUT_OF_RANGE, BINARY_HEADER, f"the JSON part is at most as long as the body, {len(body):,} bytes")
    return body[: int(header_length)], body[int(header_length) :]


def _tensors(given: Any, raw: bytes) -> dict[str, list[Any]]:
    """The values of each input, flat; inputs with binary data take theirs from `raw` in turn, and leave nothing."""
    if not isinstance(given, list):
        raise Refused(MISSING if given is None else WRONG_TYPE, INPUTS, f"{INPUTS} is a list of tensors")
    tensors: dict[str, list[Any]] = {}
    for place, tensor in enumerate(given):
        field = f"{INPUTS}[{place}]"
        entry = _object(tensor, field)
        name, datatype = entry.get("name"), entry.get("datatype")
        if name not in (USER, K) or name in tensors or datatype not in ((BYTES,) if name == USER else tuple(INTEGERS)):
            raise Refused(WRONG_TYPE, field, f"inputs are {USER} ({BYTES}) and {K} (an integer type), each once")
        size = _object(entry.get(PARAMETERS), f"{field}.{PARAMETERS}").get(BINARY_SIZE)
        if size is None:
            values = _flat(entry.get("data"), f"{field}.data")
        else:
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(raw):
                raise Refused(OUT_OF_RANGE, f"{field}.{BINARY_SIZE}", f"{len(raw):,} bytes of binary data are left")
            values, raw = _unpacked(str(datatype), raw[:size], field), raw[size:]
        _check_shape(entry.get("shape"), len(values), field, only_one=name == K)
        tensors[name] = values
    if raw:
        raise Refused(OUT_OF_RANGE, INPUTS, f"{len(raw):,} bytes of binary data belong to no input")
    return tensors


def _check_shape(shape: Any, count: int, field: str, *, only_one: bool) -> None:
    asks.check_count(count, field)
    is_shape = isinstance(shape, list) and all(isinstance(size, int) and not isinstance(size, bool) for size in shape)
    if not is_shape or shape not in ([count], [count, 1]):
        raise Refused(WRONG_TYPE, f"{field}.shape", f"the shape of {count:,} values is [{count}] or [{count}, 1]")
    if only_one and count != 1:
        raise Refused(OUT_OF_RANGE, f"{field}.shape", f"{K} is one value, got {count:,}")


def _flat(data: Any, field: str) -> list[Any]:
    """Tensors may come nested or flat."""
    if not isinstance(data, list):
        raise Refused(MISSING if data is None else WRONG_TYPE, field, "the tensor's data is a list")
    if data and all(isinstance(row, list) and len(row) == 1 for row in data):
        return [row[0] for row in data]
    return data


def _unpacked(datatype: str, raw: bytes, field: str) -> list[Any]:
    """Binary data: integers in a row, or each text after its length in four bytes; all little endian."""
    if datatype != BYTES:
        dtype = np.dtype(INTEGERS[datatype])
        if len(raw) != dtype.itemsize:
            raise Refused(OUT_OF_RANGE, field, f"{len(raw):,} bytes are not one {datatype}")
        return list(np.frombuffer(raw, dtype).tolist())
    texts: list[str] = []
    at = 0
    while at < len(raw) and len(texts) <= MOST_INSTANCES:
        end = at + 4 + (struct.unpack_from("<I", raw, at)[0] if at + 4 <= len(raw) else len(raw))
        if end > len(raw):
            raise Refused(OUT_OF_RANGE, field, "a text is longer than the binary data")
        try:
            texts.append(raw[at + 4 : end].decode())
        except UnicodeDecodeError as error:
            raise Refused(WRONG_TYPE, field, "a text is not UTF-8") from error
        at = end
    return texts


def _packed(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == BYTES:
        return b"".join(struct.pack("<I", len(text)) + text for text in (value.encode() for value in values))
    return np.asarray(values, dtype="<f4" if datatype == FP32 else INTEGERS[datatype]).tobytes()


def _column(output: Output, answers: Sequence[Answer], width: int) -> tuple[list[int], list[Any]]:
    """A tensor's shape and its values, row by row."""
    value, filler = output.value, output.filler
    if filler is None:
        return [len(answers)], [value(answer) for answer in answers]
    values: list[Any] = []
    for answer in answers:
        values += [value(place) for place in answer.places]
        values += [filler] * (width - len(answer.places))
    return [len(answers), width], values


def _outputs(given: Any, *, all_binary: bool) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of the wanted outputs, and of those wanted as binary data; where none is named, all but ratings are."""
    names = tuple(OUTPUTS_BY_NAME)
    if given is None or given == []:
        usual = tuple(name for name in names if name != RATING)
        return usual, frozenset(usual if all_binary else ())
    if not isinstance(given, list):
        raise Refused(WRONG_TYPE, OUTPUTS, f"{OUTPUTS} is a list of tensors")
    wanted, binary = [], set()
    for place, entry in enumerate(given):
        field = f"{OUTPUTS}[{place}]"
        name = _object(entry, field).get("name")
        if name not in names or name in wanted:
            raise Refused(WRONG_TYPE, f"{field}.name", f"outputs are {', '.join(names)}, each once")
        wanted.append(name)
        if _object(entry.get(PARAMETERS), f"{field}.{PARAMETERS}").get(BINARY, all_binary) is True:
            binary.add(name)
    return tuple(wanted), frozenset(binary)


def _object(given: Any, field: str) -> Object:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Refused(WRONG_TYPE, field, f"{field} is an object")
    return given

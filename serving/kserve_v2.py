"""Open Inference Protocol (v2): input tensors to queries, recommendation lists to output tensors, as JSON or with binary data.

Inputs are `user` (BYTES, [n] or [n, 1]) and, for a list length other than 10, `k` (an integer tensor of one value, or the request's
parameter `k`). Outputs of items are [n, k] each; a list shorter than k, in a small catalogue, is padded with "" and 0. Outputs of lists
are [n]: `count` is the number of items without padding, `request_id` the list's id in the impression log. `rating`, which only bundles
with a rating model predict, is returned if it is requested.
Specification: https://github.com/kserve/open-inference-protocol, and Triton's binary tensor data extension of it.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from lodestar.schema import RATING
from serving import requests
from serving.feature_log import RecommendResponse
from serving.requests import (
    DEFAULT_K,
    MAX_INSTANCES,
    MISSING,
    NOT_UTF8,
    OUT_OF_RANGE,
    USER,
    WRONG_TYPE,
    InvalidRequest,
    K,
    RecommendRequest,
    json_object,
)

Object = dict[str, Any]

BINARY_HEADER = "inference-header-content-length"
BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
INPUTS, OUTPUTS, PARAMETERS = "inputs", "outputs", "parameters"
BYTES, FP32, INT32 = "BYTES", "FP32", "INT32"
MAX_LENGTH_DIGITS = 9
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
    """An output tensor: `value` of each item, padded with `pad_value`, or of each list if `pad_value` is None."""

    name: str
    datatype: str
    value: Callable[[Any], Any]
    pad_value: Any = None


OUTPUTS_BY_NAME = {
    output.name: output
    for output in (
        Output(name="item_id", datatype=BYTES, value=lambda item: item.item_id, pad_value=""),
        Output(name="title", datatype=BYTES, value=lambda item: item.title, pad_value=""),
        Output(name="score", datatype=FP32, value=lambda item: item.score, pad_value=0.0),
        Output(name=RATING, datatype=FP32, value=lambda item: NAN if item.rating is None else item.rating, pad_value=0.0),
        Output(name="count", datatype=INT32, value=lambda response: len(response.items)),
        Output(name="request_id", datatype=BYTES, value=lambda response: response.request_id),
    )
}
OUTPUT_TENSORS = tuple(
    {"name": output.name, "datatype": output.datatype, "shape": [-1] if output.pad_value is None else [-1, -1]}
    for output in OUTPUTS_BY_NAME.values()
)


@dataclass(frozen=True, kw_only=True)
class Inference:
    """A decoded v2 request: queries, request id, names of the requested outputs, and which of them as binary data."""

    queries: list[RecommendRequest]
    id: str
    wanted: tuple[str, ...]
    binary: frozenset[str]


def decode(body: bytes, header_length: str | None) -> Inference:
    """Decode a request's body; `header_length` is the size of its JSON part if binary data follow. InvalidRequest if it is invalid."""
    head, raw = _parts(body, header_length)
    given = json_object(head)
    tensors = _tensors(given.get(INPUTS), raw)
    if USER not in tensors:
        raise InvalidRequest(MISSING, INPUTS, f"an input {USER!r} of {BYTES} is needed")
    parameters = _object(given.get(PARAMETERS), PARAMETERS)
    k = requests.check_k(tensors[K][0] if K in tensors else parameters.get(K, DEFAULT_K), K)
    wanted, binary = _outputs(given.get(OUTPUTS), all_binary=parameters.get(ALL_BINARY) is True)
    request_id = given.get("id")
    if not isinstance(request_id, str | None):
        raise InvalidRequest(WRONG_TYPE, "id", "id is a text")
    queries = [RecommendRequest(user=requests.identifier(user, f"{USER}[{index}]"), k=k) for index, user in enumerate(tensors[USER])]
    requests.check_total_k(queries, USER)
    return Inference(queries=queries, id=request_id or "", wanted=wanted, binary=binary)


def encode(inference: Inference, responses: Sequence[RecommendResponse], model: str, digest: str) -> tuple[bytes, int | None]:
    """The response body, and the size of its JSON part if binary data follow, else None."""
    width = max(len(response.items) for response in responses)
    tensors: list[Object] = []
    raw: list[bytes] = []
    for name in inference.wanted:
        output = OUTPUTS_BY_NAME[name]
        shape, values = _column(output, responses, width)
        tensor: Object = {"name": name, "datatype": output.datatype, "shape": shape}
        if name in inference.binary:
            raw.append(_packed(output.datatype, values))
            tensor[PARAMETERS] = {BINARY_SIZE: len(raw[-1])}
        else:
            tensor["data"] = values
        tensors.append(tensor)
    head = orjson.dumps({"model_name": model, "model_version": digest, "id": inference.id or responses[0].request_id, OUTPUTS: tensors})
    return head + b"".join(raw), len(head) if raw else None


def _parts(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    is_number = header_length.isascii() and header_length.isdigit() and len(header_length) <= MAX_LENGTH_DIGITS
    if not is_number or int(header_length) > len(body):
        raise InvalidRequest(OUT_OF_RANGE, BINARY_HEADER, f"the JSON part is at most as long as the body, {len(body):,} bytes")
    return body[: int(header_length)], body[int(header_length) :]


def _tensors(given: Any, raw: bytes) -> dict[str, list[Any]]:
    """The flat values of each input; binary inputs consume `raw` in order, and all of it."""
    if not isinstance(given, list):
        raise InvalidRequest(MISSING if given is None else WRONG_TYPE, INPUTS, f"{INPUTS} is a list of tensors")
    tensors: dict[str, list[Any]] = {}
    for index, tensor in enumerate(given):
        field = f"{INPUTS}[{index}]"
        entry = _object(tensor, field)
        name, datatype = entry.get("name"), entry.get("datatype")
        if name not in (USER, K) or name in tensors or datatype not in ((BYTES,) if name == USER else tuple(INTEGERS)):
            raise InvalidRequest(WRONG_TYPE, field, f"inputs are {USER} ({BYTES}) and {K} (an integer type), each once")
        size = _object(entry.get(PARAMETERS), f"{field}.{PARAMETERS}").get(BINARY_SIZE)
        if size is None:
            values = _flat(entry.get("data"), f"{field}.data")
        else:
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(raw):
                raise InvalidRequest(OUT_OF_RANGE, f"{field}.{BINARY_SIZE}", f"{len(raw):,} bytes of binary data are left")
            values, raw = _unpacked(str(datatype), raw[:size], field), raw[size:]
        _check_shape(entry.get("shape"), len(values), field, only_one=name == K)
        tensors[name] = values
    if raw:
        raise InvalidRequest(OUT_OF_RANGE, INPUTS, f"{len(raw):,} bytes of binary data belong to no input")
    return tensors


def _check_shape(shape: Any, count: int, field: str, *, only_one: bool) -> None:
    requests.check_count(count, field)
    is_shape = isinstance(shape, list) and all(isinstance(size, int) and not isinstance(size, bool) for size in shape)
    if not is_shape or shape not in ([count], [count, 1]):
        raise InvalidRequest(WRONG_TYPE, f"{field}.shape", f"the shape of {count:,} values is [{count}] or [{count}, 1]")
    if only_one and count != 1:
        raise InvalidRequest(OUT_OF_RANGE, f"{field}.shape", f"{K} is one value, got {count:,}")


def _flat(data: Any, field: str) -> list[Any]:
    """Tensor data as a flat list; both [n] and nested [n, 1] are accepted."""
    if not isinstance(data, list):
        raise InvalidRequest(MISSING if data is None else WRONG_TYPE, field, "the tensor's data is a list")
    if data and all(isinstance(row, list) and len(row) == 1 for row in data):
        return [row[0] for row in data]
    return data


def _unpacked(datatype: str, raw: bytes, field: str) -> list[Any]:
    """Decode binary tensor data, little endian: one integer, or texts, each after its length in four bytes."""
    if datatype != BYTES:
        dtype = np.dtype(INTEGERS[datatype])
        if len(raw) != dtype.itemsize:
            raise InvalidRequest(OUT_OF_RANGE, field, f"{len(raw):,} bytes are not one {datatype}")
        return list(np.frombuffer(raw, dtype).tolist())
    texts: list[str] = []
    at = 0
    while at < len(raw) and len(texts) <= MAX_INSTANCES:
        end = at + 4 + (struct.unpack_from("<I", raw, at)[0] if at + 4 <= len(raw) else len(raw))
        if end > len(raw):
            raise InvalidRequest(OUT_OF_RANGE, field, "a text is longer than the binary data")
        try:
            texts.append(raw[at + 4 : end].decode())
        except UnicodeDecodeError as error:
            raise InvalidRequest(NOT_UTF8, field, "a text is not UTF-8") from error
        at = end
    return texts


def _packed(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == BYTES:
        return b"".join(struct.pack("<I", len(text)) + text for text in (value.encode() for value in values))
    return np.asarray(values, dtype="<f4" if datatype == FP32 else INTEGERS[datatype]).tobytes()


def _column(output: Output, responses: Sequence[RecommendResponse], width: int) -> tuple[list[int], list[Any]]:
    """An output tensor's shape and its values, row by row, padded to `width`."""
    value, pad_value = output.value, output.pad_value
    if pad_value is None:
        return [len(responses)], [value(response) for response in responses]
    values: list[Any] = []
    for response in responses:
        values += [value(item) for item in response.items]
        values += [pad_value] * (width - len(response.items))
    return [len(responses), width], values


def _outputs(given: Any, *, all_binary: bool) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of the requested outputs, and of those requested as binary data; without names, all except `rating`."""
    names = tuple(OUTPUTS_BY_NAME)
    if given is None or given == []:
        default = tuple(name for name in names if name != RATING)
        return default, frozenset(default if all_binary else ())
    if not isinstance(given, list):
        raise InvalidRequest(WRONG_TYPE, OUTPUTS, f"{OUTPUTS} is a list of tensors")
    wanted, binary = [], set()
    for index, entry in enumerate(given):
        field = f"{OUTPUTS}[{index}]"
        name = _object(entry, field).get("name")
        if name not in names or name in wanted:
            raise InvalidRequest(OUT_OF_RANGE, f"{field}.name", f"outputs are {', '.join(names)}, each once")
        wanted.append(name)
        if _object(entry.get(PARAMETERS), f"{field}.{PARAMETERS}").get(BINARY, all_binary) is True:
            binary.add(name)
    return tuple(wanted), frozenset(binary)


def _object(given: Any, field: str) -> Object:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidRequest(WRONG_TYPE, field, f"{field} is an object")
    return given

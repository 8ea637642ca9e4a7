"""Packed rows: the binary format of a feature view's values for one entity in the online store, read without Feast or protobuf.

    signature  u32        hash of the layout, to detect rows of another layout
    times      2 × i64    event time and the time it became known, UTC µs
    nulls      bitmap, a bit per value
    fixed      numbers; for each text or list, u32, its end offset in the rest
    rest       texts and lists; a list of texts starts with its length and the length of each text

All little endian. A writer stores each layout as JSON under its signature, so rows of two layouts can coexist during a rollout.
"""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

SIGNATURE, TIMES = struct.Struct("<I"), struct.Struct("<qq")
NULL_BITMAP_OFFSET = SIGNATURE.size + TIMES.size
NUMBERS = {"f4": "f", "f8": "d", "i4": "i", "i8": "q", "bool": "?"}  # by kind, the format of `struct`
LISTS = {f"{kind}s": code for kind, code in NUMBERS.items()}
TEXT, BYTES, TEXTS = "text", "bytes", "texts"
KINDS = (*NUMBERS, *LISTS, TEXT, BYTES, TEXTS)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Layout of a packed row: names and kinds (of KINDS) of the values, and the TTL in µs (0: none)."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    ttl_us: int = 0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or len(self.names) != len(self.kinds):
            raise ValueError(f"a layout needs one kind per name, of {', '.join(KINDS)}; got {self.kinds}")

    @cached_property
    def signature(self) -> bytes:
        """First bytes of each row of this layout: the CRC-32 of its JSON."""
        return SIGNATURE.pack(zlib.crc32(self.to_json().encode()))

    @cached_property
    def fixed(self) -> struct.Struct:
        """Format of the fixed part: a number per value, end offsets for texts and lists."""
        return struct.Struct("<" + "".join(NUMBERS.get(kind, "I") for kind in self.kinds))

    @cached_property
    def fixed_at(self) -> int:
        """Byte offset of the fixed part."""
        return NULL_BITMAP_OFFSET + (len(self.kinds) + 7) // 8

    @cached_property
    def rest_at(self) -> int:
        """Byte offset of the texts and lists."""
        return self.fixed_at + self.fixed.size

    def pack(self, values: Sequence[Any], event_us: int, known_us: int) -> bytes:
        """Pack values (None is null) with event time and known time, UTC µs, into a row."""
        nulls, fixed, rest = 0, list[Any](), bytearray()
        for index, (kind, value) in enumerate(zip(self.kinds, values, strict=True)):
            nulls |= (value is None) << index
            if kind in NUMBERS:
                fixed.append(0 if value is None else value)
                continue
            if value is not None:
                rest += _pack_value(kind, value)
            fixed.append(len(rest))
        head = self.signature + TIMES.pack(event_us, known_us) + nulls.to_bytes((len(self.kinds) + 7) // 8, "little")
        return head + self.fixed.pack(*fixed) + bytes(rest)

    def is_expired(self, row: bytes, now_us: int) -> bool:
        """Whether a row is older than the TTL at a time in UTC µs."""
        return self.ttl_us > 0 and event_us(row) + self.ttl_us < now_us

    def unpack(self, row: bytes) -> list[Any]:
        """Unpack all values of a row; raises ValueError if it is truncated or of another layout."""
        fixed = self._fixed(row)
        values: list[Any] = []
        start = self.rest_at
        try:
            for index, (kind, value) in enumerate(zip(self.kinds, fixed, strict=True)):
                end = start if kind in NUMBERS else self.rest_at + value
                values.append(None if self._is_null(row, index) else value if kind in NUMBERS else _unpack_value(kind, row, start, end))
                start = end
        except (struct.error, IndexError) as error:
            raise self._truncated_error(row) from error
        if start != len(row):
            raise self._truncated_error(row)
        return values

    def value(self, row: bytes, name: str) -> Any:
        """Unpack one value of a row; None if it is null or not in the layout. Raises ValueError like `unpack`."""
        if name not in self.names:
            return None
        index, fixed = self.names.index(name), self._fixed(row)
        kind = self.kinds[index]
        if self._is_null(row, index) or kind in NUMBERS:
            return None if self._is_null(row, index) else fixed[index]
        before = [end for other, end in zip(self.kinds[:index], fixed, strict=False) if other not in NUMBERS]
        try:
            return _unpack_value(kind, row, self.rest_at + (before[-1] if before else 0), self.rest_at + fixed[index])
        except (struct.error, IndexError) as error:
            raise self._truncated_error(row) from error

    def _fixed(self, row: bytes) -> tuple[Any, ...]:
        if len(row) < self.rest_at or signature_of(row) != self.signature:
            raise self._truncated_error(row)
        return self.fixed.unpack_from(row, self.fixed_at)

    def _is_null(self, row: bytes, index: int) -> int:
        return row[NULL_BITMAP_OFFSET + index // 8] >> index % 8 & 1

    def _truncated_error(self, row: bytes) -> ValueError:
        return ValueError(f"{len(row)} bytes are not a row of {', '.join(self.names)}")

    def to_json(self) -> str:
        """JSON of the layout, as stored next to the rows; the inverse of `from_json`."""
        return json.dumps({"names": self.names, "kinds": self.kinds, "ttl_us": self.ttl_us})


def signature_of(row: bytes) -> bytes:
    """Signature of the layout of a row."""
    return row[: SIGNATURE.size]


def event_us(row: bytes) -> int:
    """Event time of a row, UTC µs; raises ValueError if the row is truncated."""
    return _times(row)[0]


def known_us(row: bytes) -> int:
    """Time at which a row became known, UTC µs; raises ValueError if the row is truncated."""
    return _times(row)[1]


def _times(row: bytes) -> tuple[int, int]:
    if len(row) < NULL_BITMAP_OFFSET:
        raise ValueError(f"{len(row)} bytes are not a row of a view")
    event_us, known_us = TIMES.unpack_from(row, SIGNATURE.size)
    return int(event_us), int(known_us)


def from_json(text: str | bytes) -> Layout:
    """Layout from the JSON of `to_json`; raises ValueError for anything else."""
    try:
        content = json.loads(text)
        return Layout(names=tuple(content["names"]), kinds=tuple(content["kinds"]), ttl_us=int(content["ttl_us"]))
    except (KeyError, TypeError) as error:
        raise ValueError("not the JSON of a layout") from error


def _pack_value(kind: str, value: Any) -> bytes:
    if kind == TEXT:
        return str(value).encode()
    if kind == BYTES:
        return bytes(value)
    if kind == TEXTS:
        texts = [text.encode() for text in value]
        return struct.pack(f"<{len(texts) + 1}I", len(texts), *map(len, texts)) + b"".join(texts)
    return struct.pack(f"<{len(value)}{LISTS[kind]}", *value)


def _unpack_value(kind: str, row: bytes, start: int, end: int) -> Any:
    if end > len(row) or end < start:
        raise IndexError
    if kind == BYTES:
        return row[start:end]
    if kind == TEXT:
        return row[start:end].decode()
    if kind == TEXTS:
        (count,) = struct.unpack_from("<I", row, start)
        at = start + 4 * (count + 1)
        ends = list(accumulate(struct.unpack_from(f"<{count}I", row, start + 4), initial=at))
        if ends[-1] != end:
            raise IndexError
        return [row[first:last].decode() for first, last in pairwise(ends)]
    code = LISTS[kind]
    return list(struct.unpack(f"<{(end - start) // struct.calcsize(code)}{code}", row[start:end]))

"""A view's values for one entity in one piece of bytes, which is read without Feast, protobuf or a library for tables.

    signature  u32        the layout, hashed: bytes of another layout are told by it
    times      2 × i64    when it happened and when it became known, UTC µs
    nulls      a bit per value
    fixed      numbers as they are; of each text or list, u32, where it ends in what follows
    rest       texts, and lists: how many there are, how long each text is, and they themselves

All little endian. Who writes puts the layout beside the values, as JSON, by its signature: rows of two layouts can lie side by side.
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
NULLS_AT = SIGNATURE.size + TIMES.size
NUMBERS = {"f4": "f", "f8": "d", "i4": "i", "i8": "q", "bool": "?"}  # and what struct calls them
LISTS = {f"{kind}s": code for kind, code in NUMBERS.items()}
TEXT, BYTES, TEXTS = "text", "bytes", "texts"
KINDS = (*NUMBERS, *LISTS, TEXT, BYTES, TEXTS)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The names of a view's values and the kind of each, one of KINDS; a row counts until its time plus `ttl_us`, 0 is no limit."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    ttl_us: int = 0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or len(self.names) != len(self.kinds):
            raise ValueError(f"a layout has a kind for each name, out of {', '.join(KINDS)}; got {self.kinds}")

    @cached_property
    def signature(self) -> bytes:
        return SIGNATURE.pack(zlib.crc32(self.to_json().encode()))

    @cached_property
    def fixed(self) -> struct.Struct:
        return struct.Struct("<" + "".join(NUMBERS.get(kind, "I") for kind in self.kinds))

    @cached_property
    def fixed_at(self) -> int:
        return NULLS_AT + (len(self.kinds) + 7) // 8

    @cached_property
    def rest_at(self) -> int:
        return self.fixed_at + self.fixed.size

    def pack(self, values: Sequence[Any], event_us: int, known_us: int) -> bytes:
        """The bytes of a row; None is no value."""
        nulls, fixed, rest = 0, list[Any](), bytearray()
        for place, (kind, value) in enumerate(zip(self.kinds, values, strict=True)):
            nulls |= (value is None) << place
            if kind in NUMBERS:
                fixed.append(0 if value is None else value)
                continue
            if value is not None:
                rest += _packed(kind, value)
            fixed.append(len(rest))
        head = self.signature + TIMES.pack(event_us, known_us) + nulls.to_bytes((len(self.kinds) + 7) // 8, "little")
        return head + self.fixed.pack(*fixed) + bytes(rest)

    def is_expired(self, row: bytes, now_us: int) -> bool:
        return self.ttl_us > 0 and happened_us(row) + self.ttl_us < now_us

    def unpack(self, row: bytes) -> list[Any]:
        """The values of a row; ValueError where it is of another layout or cut."""
        fixed = self._fixed(row)
        values: list[Any] = []
        start = self.rest_at
        try:
            for place, (kind, value) in enumerate(zip(self.kinds, fixed, strict=True)):
                end = start if kind in NUMBERS else self.rest_at + value
                values.append(None if self._is_null(row, place) else value if kind in NUMBERS else _unpacked(kind, row, start, end))
                start = end
        except (struct.error, IndexError) as error:
            raise self._cut(row) from error
        if start != len(row):
            raise self._cut(row)
        return values

    def value(self, row: bytes, name: str) -> Any:
        """One value of a row, None where the layout has none of this name; the rest is not looked at. ValueError as above."""
        if name not in self.names:
            return None
        place, fixed = self.names.index(name), self._fixed(row)
        kind = self.kinds[place]
        if self._is_null(row, place) or kind in NUMBERS:
            return None if self._is_null(row, place) else fixed[place]
        before = [end for other, end in zip(self.kinds[:place], fixed, strict=False) if other not in NUMBERS]
        try:
            return _unpacked(kind, row, self.rest_at + (before[-1] if before else 0), self.rest_at + fixed[place])
        except (struct.error, IndexError) as error:
            raise self._cut(row) from error

    def _fixed(self, row: bytes) -> tuple[Any, ...]:
        if len(row) < self.rest_at or signature_of(row) != self.signature:
            raise self._cut(row)
        return self.fixed.unpack_from(row, self.fixed_at)

    def _is_null(self, row: bytes, place: int) -> int:
        return row[NULLS_AT + place // 8] >> place % 8 & 1

    def _cut(self, row: bytes) -> ValueError:
        return ValueError(f"{len(row)} bytes are no row of {', '.join(self.names)}")

    def to_json(self) -> str:
        return json.dumps({"names": self.names, "kinds": self.kinds, "ttl_us": self.ttl_us})


def signature_of(row: bytes) -> bytes:
    """Which layout a row is of."""
    return row[: SIGNATURE.size]


def happened_us(row: bytes) -> int:
    """When what a row says happened; ValueError where the row is cut."""
    return _times(row)[0]


def known_us(row: bytes) -> int:
    """When what a row says became known; ValueError where the row is cut."""
    return _times(row)[1]


def _times(row: bytes) -> tuple[int, int]:
    if len(row) < NULLS_AT:
        raise ValueError(f"{len(row)} bytes are no row of a view")
    happened, known = TIMES.unpack_from(row, SIGNATURE.size)
    return int(happened), int(known)


def from_json(text: str | bytes) -> Layout:
    """What `to_json` gave; ValueError where it is anything else."""
    try:
        content = json.loads(text)
        return Layout(names=tuple(content["names"]), kinds=tuple(content["kinds"]), ttl_us=int(content["ttl_us"]))
    except (KeyError, TypeError) as error:
        raise ValueError("this describes no layout") from error


def _packed(kind: str, value: Any) -> bytes:
    if kind == TEXT:
        return str(value).encode()
    if kind == BYTES:
        return bytes(value)
    if kind == TEXTS:
        texts = [text.encode() for text in value]
        return struct.pack(f"<{len(texts) + 1}I", len(texts), *map(len, texts)) + b"".join(texts)
    return struct.pack(f"<{len(value)}{LISTS[kind]}", *value)


def _unpacked(kind: str, row: bytes, start: int, end: int) -> Any:
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
        return [row[here:there].decode() for here, there in pairwise(ends)]
    code = LISTS[kind]
    return list(struct.unpack(f"<{(end - start) // struct.calcsize(code)}{code}", row[start:end]))

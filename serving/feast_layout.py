"""Feast's SQLite store as bytes: how a key is written and a list of texts is read, without Feast.

Keys are those of `entity_key_serialization_version: 3`; values are protobuf messages. Contract tests hold both equal to Feast's own.
"""

import struct

from lodestar import schema

STRING = 2  # Feast's ValueType of a join key's value
# Tags of protobuf: the field's number and, in the last three bits, that its length follows.
TEXTS_TAG = 12 << 3 | 2  # `string_list_val` in Feast's Value
TEXT_TAG = 1 << 3 | 2  # `val` in its StringList
SHORT = 0x7F  # the largest length in one byte


def user_key(user: str) -> bytes:
    """The key of a user."""
    join_key, value = schema.USER_ID.encode(), user.encode()
    head = struct.pack("<3I", 1, STRING, len(join_key)) + join_key
    return head + struct.pack("<2I", STRING, len(value)) + value


def sqlite_table(view: str) -> str:
    return f"{schema.FEAST_PROJECT}_{view}"


def texts(value: bytes | None) -> tuple[str, ...]:
    """The list of texts that a value holds, empty where there is no value; ValueError where the bytes are anything else.

    Read by hand: importing protobuf takes 80 ms and 12 MB, and up to 50 texts it is no faster.
    """
    if not value:
        return ()
    try:
        return tuple([text.decode() for text in _texts(value)])
    except (IndexError, ValueError) as error:
        raise ValueError(f"{len(value)} bytes are not a Feast value that lists texts") from error


def _texts(value: bytes) -> list[bytes]:
    size, at = _length(value, 1)
    if value[0] != TEXTS_TAG or at + size != len(value):
        raise ValueError
    found: list[bytes] = []
    while at < len(value):
        if value[at] != TEXT_TAG:
            raise ValueError
        size = value[at + 1]
        at += 2
        if size > SHORT:
            size, at = _length(value, at - 1)
        found.append(value[at : at + size])
        at += size
    if at > len(value):
        raise ValueError
    return found


def _length(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends."""
    size = shift = 0
    while message[at] > SHORT:
        size |= (message[at] & SHORT) << shift
        at, shift = at + 1, shift + 7
    return size | message[at] << shift, at + 1

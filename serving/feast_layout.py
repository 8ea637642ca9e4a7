"""Feast's online store as bytes: how a key is written and a list of texts is read, without Feast.

Keys are those of `entity_key_serialization_version: 3`; values are protobuf messages. Contract tests hold both equal to Feast's own.
"""

import struct
from functools import cache
from typing import Any

from lodestar import schema

STRING = 2  # Feast's ValueType of a join key's value
TEXTS_FIELD = 12  # `string_list_val` in Feast's Value


def user_key(user: str) -> bytes:
    """The key of a user in SQLite, and in Redis before the project's name."""
    join_key, value = schema.USER_ID.encode(), user.encode()
    head = struct.pack("<3I", 1, STRING, len(join_key)) + join_key
    return head + struct.pack("<2I", STRING, len(value)) + value


def redis_key(user: str) -> bytes:
    return user_key(user) + schema.FEAST_PROJECT.encode()


def redis_field(view: str, feature: str) -> bytes:
    """The hash field of a feature: murmur3 of its full name, little endian."""
    import mmh3

    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def sqlite_table(view: str) -> str:
    return f"{schema.FEAST_PROJECT}_{view}"


def texts(value: bytes | None) -> tuple[str, ...]:
    """The list of texts that a value holds; empty where there is none. ValueError where the bytes are no value."""
    from google.protobuf.message import DecodeError

    if not value:
        return ()
    message = _value_type()()
    try:
        message.ParseFromString(value)
    except DecodeError as error:
        raise ValueError(f"{len(value)} bytes are not a Feast value") from error
    return tuple(message.texts.val)


@cache
def _value_type() -> Any:
    """The part of Feast's Value that is read here; other fields are passed over, as protobuf does with what it does not know."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="lodestar/value.proto", package="lodestar", syntax="proto3")
    file.message_type.add(name="Texts").field.add(name="val", number=1, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    file.message_type.add(name="Value").field.add(
        name="texts", number=TEXTS_FIELD, type=field.TYPE_MESSAGE, type_name=".lodestar.Texts", label=field.LABEL_OPTIONAL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("lodestar.Value"))

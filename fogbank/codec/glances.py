"""Classes to read bytes by that are read all the time: by less than the contract says of them.

To come by a part of a message costs more than all that the part says, and an empty list as much as
five values. So a glance has the fields of the contract's message by their numbers, but of some of
them only bytes: those of a part, for who has met the same before or reads it by itself, or those of
a list's last item, whose presence tells whether there is any. Nothing is written by them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_PACKAGE = "fogbank.codec"


def glance(
    message: type[Message], *, as_bytes: Collection[str] = (), last_bytes: Collection[str] = ()
) -> Any:
    """Return the class for a message: parts as bytes, and lists as the bytes of their last."""
    file = FileDescriptorProto(
        name=f"{_PACKAGE}/{message.DESCRIPTOR.name}",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[message.DESCRIPTOR.file.name],
    )
    own = file.message_type.add()
    message.DESCRIPTOR.CopyToProto(own)
    del own.nested_type[:]  # the items of mappings, which are lists
    for field in own.field:
        if field.name in as_bytes or field.name in last_bytes:
            field.ClearField("type_name")
            field.type = FieldDescriptorProto.TYPE_BYTES
        if field.name in last_bytes:
            field.label = FieldDescriptorProto.LABEL_OPTIONAL
            # So that an item without bytes is told from none.
            field.proto3_optional = True
            field.oneof_index = len(own.oneof_decl)
            own.oneof_decl.add(name=f"_{field.name}")
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{own.name}"))

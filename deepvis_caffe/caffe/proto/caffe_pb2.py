"""``caffe.proto.caffe_pb2``: the messages and enums of Caffe's own package, ``caffe``.

The same as ``deepvis_caffe.model.schema_pb2``, and made from it, with the names that real Caffe's
module has: ``caffe.NetParameter`` in the file ``caffe.proto``. They are in a descriptor pool of
their own, so real Caffe can be imported in the same process. All of stock Caffe 1.0 is there, with
its numbers and defaults. So are the layers of forks, which are read from and written to text only:
their numbers in binary files are no fork's; see ``schema.proto``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from google.protobuf import descriptor as _descriptor
from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import descriptor_pool as _descriptor_pool
from google.protobuf import message_factory as _message_factory
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper

from deepvis_caffe.model import schema_pb2 as _schema_pb2

if _TYPE_CHECKING:

    def __getattr__(name: str) -> _Any: ...


def _renamed(file: _descriptor_pb2.FileDescriptorProto) -> _descriptor_pb2.FileDescriptorProto:
    """The same file under Caffe's own names."""
    ours, theirs = f".{file.package}.", ".caffe."
    file.name, file.package = "caffe.proto", "caffe"
    messages = list(file.message_type)
    for message in messages:
        messages.extend(message.nested_type)
        for field in message.field:
            if field.type_name:
                field.type_name = theirs + field.type_name.removeprefix(ours)
    return file


_POOL = _descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(
    _renamed(
        _descriptor_pb2.FileDescriptorProto.FromString(_schema_pb2.DESCRIPTOR.serialized_pb)
    ).SerializeToString()
)
DESCRIPTOR = _POOL.FindFileByName("caffe.proto")


def _message_class(message: _descriptor.Descriptor, outer: str = "") -> type:
    """The class of a message; this module also gets what ``protoc`` would have put into it."""
    cls = _message_factory.GetMessageClass(message)
    cls.__module__, cls.__qualname__ = __name__, outer + message.name
    constant = "_" + cls.__qualname__.replace(".", "_").upper()
    globals()[constant] = message
    for enum in message.enum_types:
        globals()[f"{constant}_{enum.name.upper()}"] = enum
    for inner in message.nested_types:
        setattr(cls, inner.name, _message_class(inner, f"{cls.__qualname__}."))
    return cls


for _enum in DESCRIPTOR.enum_types_by_name.values():
    globals()[_enum.name] = _enum_type_wrapper.EnumTypeWrapper(_enum)
    globals()[f"_{_enum.name.upper()}"] = _enum
    globals().update({_value.name: _value.number for _value in _enum.values})
for _message in DESCRIPTOR.message_types_by_name.values():
    globals()[_message.name] = _message_class(_message)

from authz.wire.envoy.v3 import check_pb2 as _check_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckRequestAsRead(_message.Message):
    __slots__ = ("attributes",)
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    attributes: AttributesAsRead
    def __init__(self, attributes: _Optional[_Union[AttributesAsRead, _Mapping]] = ...) -> None: ...

class AttributesAsRead(_message.Message):
    __slots__ = ("source", "request", "context_extensions", "metadata_context")
    class ContextExtensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    METADATA_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    source: bytes
    request: _check_pb2.AttributeContext.Request
    context_extensions: _containers.ScalarMap[str, bytes]
    metadata_context: _check_pb2.Metadata
    def __init__(self, source: _Optional[bytes] = ..., request: _Optional[_Union[_check_pb2.AttributeContext.Request, _Mapping]] = ..., context_extensions: _Optional[_Mapping[str, bytes]] = ..., metadata_context: _Optional[_Union[_check_pb2.Metadata, _Mapping]] = ...) -> None: ...

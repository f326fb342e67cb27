"""gRPC server reflection: what grpcurl and similar tools ask before they call. From bytes to bytes, for both engines.

Our own check.proto has the fields of Envoy's API that we read, by their numbers. It is shown under Envoy's names:

    grpcurl -plaintext -d '{"attributes": {"source": {"address": {"socket_address": {"address": "192.0.2.7"}}}}}' \
        127.0.0.1:9191 envoy.service.auth.v3.Authorization/Check

What we read as bytes is text for the one who asks, so it is shown as strings.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from google.protobuf import struct_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from authz.errors import CallFailed
from authz.serve.admin.health import AUTHORIZATION
from authz.wire.envoy.v3 import check_pb2
from authz.wire.reflection.v1 import reflection_pb2
from authz.wire.reflection.v1.reflection_pb2 import (
    ErrorResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

REFLECTION_SERVICES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
REFLECTION_METHOD: Final = "ServerReflectionInfo"
_SERVICES: Final = (AUTHORIZATION, "grpc.health.v1.Health", *REFLECTION_SERVICES)
_INVALID_ARGUMENT, _NOT_FOUND, _UNIMPLEMENTED = 3, 5, 12  # gRPC status codes


def reflect(message: bytes) -> bytes:
    """Answer one ServerReflectionRequest. Raises CallFailed if it is not one."""
    try:
        request = ServerReflectionRequest.FromString(message)
    except DecodeError as error:
        raise CallFailed(_INVALID_ARGUMENT, "found no ServerReflectionRequest, expected one") from error
    response = ServerReflectionResponse(valid_host=request.host, original_request=request)
    kind = request.WhichOneof("message_request")
    files: list[bytes] | None = None
    if kind == "list_services":
        services = [ServiceResponse(name=name) for name in _SERVICES]
        response.list_services_response.CopyFrom(ListServiceResponse(service=services))
        return response.SerializeToString()
    if kind == "file_by_filename":
        files = _files_by_name().get(request.file_by_filename)
    elif kind == "file_containing_symbol":
        files = _files_by_symbol().get(request.file_containing_symbol)
    else:
        error_response = ErrorResponse(error_code=_UNIMPLEMENTED, error_message="no file here has extensions")
        response.error_response.CopyFrom(error_response)
        return response.SerializeToString()
    if files is None:
        response.error_response.CopyFrom(ErrorResponse(error_code=_NOT_FOUND, error_message="not found"))
    else:
        response.file_descriptor_response.CopyFrom(FileDescriptorResponse(file_descriptor_proto=files))
    return response.SerializeToString()


@cache
def _files() -> tuple[FileDescriptorProto, ...]:
    files = [_authorization(), _copy(health_pb2.DESCRIPTOR), _copy(struct_pb2.DESCRIPTOR)]
    return (*files, *map(_reflection, REFLECTION_SERVICES))


@cache
def _files_by_name() -> dict[str, list[bytes]]:
    return {file.name: [file.SerializeToString()] for file in _files()}


@cache
def _files_by_symbol() -> dict[str, list[bytes]]:
    """Return the files by what is in them: messages, services and methods. The files that they need come with them."""
    by_name = {file.name: file for file in _files()}
    symbols: dict[str, list[bytes]] = {}
    for file in _files():
        whole = [file.SerializeToString(), *(by_name[name].SerializeToString() for name in file.dependency)]
        for message in file.message_type:
            symbols[f"{file.package}.{message.name}"] = whole
        for service in file.service:
            symbols[f"{file.package}.{service.name}"] = whole
            symbols |= {f"{file.package}.{service.name}.{method.name}": whole for method in service.method}
    return symbols


def _copy(descriptor: FileDescriptor) -> FileDescriptorProto:
    return FileDescriptorProto.FromString(descriptor.serialized_pb)


def _renamed(descriptor: FileDescriptor, package: str, name: str) -> FileDescriptorProto:
    """Return a file of ours under another package, as far as its own types are concerned."""
    file = _copy(descriptor)
    before, file.package, file.name = f".{file.package}.", package, name
    pending = list(file.message_type)
    while pending:
        message = pending.pop()
        pending += message.nested_type
        for field in message.field:
            if field.type_name.startswith(before):
                field.type_name = f".{package}.{field.type_name.removeprefix(before)}"
    return file


def _authorization() -> FileDescriptorProto:
    package, _, name = AUTHORIZATION.rpartition(".")
    file = _renamed(check_pb2.DESCRIPTOR, package, "envoy/service/auth/v3/external_auth.proto")
    pending = list(file.message_type)
    while pending:
        message = pending.pop()
        pending += message.nested_type
        for field in message.field:
            if field.type == FieldDescriptorProto.TYPE_BYTES:
                field.type = FieldDescriptorProto.TYPE_STRING
    service = file.service.add(name=name)
    service.method.add(name="Check", input_type=f".{package}.CheckRequest", output_type=f".{package}.CheckResponse")
    return file


def _reflection(service_name: str) -> FileDescriptorProto:
    package, _, name = service_name.rpartition(".")
    file = _renamed(reflection_pb2.DESCRIPTOR, package, package.replace(".", "/") + "/reflection.proto")
    service = file.service.add(name=name)
    service.method.add(
        name=REFLECTION_METHOD,
        input_type=f".{package}.ServerReflectionRequest",
        output_type=f".{package}.ServerReflectionResponse",
        client_streaming=True,
        server_streaming=True,
    )
    return file

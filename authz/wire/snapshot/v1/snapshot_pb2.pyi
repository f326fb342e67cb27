from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Manifest(_message.Message):
    __slots__ = ("format", "serial", "created", "expires", "applications", "sections", "feeds", "forced", "layer", "protected", "part", "requires", "origin")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    APPLICATIONS_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    FEEDS_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    PROTECTED_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    REQUIRES_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    format: int
    serial: int
    created: int
    expires: int
    applications: _containers.RepeatedCompositeFieldContainer[Application]
    sections: _containers.RepeatedCompositeFieldContainer[Section]
    feeds: _containers.RepeatedCompositeFieldContainer[Feed]
    forced: _containers.RepeatedCompositeFieldContainer[Forced]
    layer: str
    protected: _containers.RepeatedScalarFieldContainer[str]
    part: bool
    requires: _containers.RepeatedCompositeFieldContainer[Part]
    origin: Origin
    def __init__(self, format: _Optional[int] = ..., serial: _Optional[int] = ..., created: _Optional[int] = ..., expires: _Optional[int] = ..., applications: _Optional[_Iterable[_Union[Application, _Mapping]]] = ..., sections: _Optional[_Iterable[_Union[Section, _Mapping]]] = ..., feeds: _Optional[_Iterable[_Union[Feed, _Mapping]]] = ..., forced: _Optional[_Iterable[_Union[Forced, _Mapping]]] = ..., layer: _Optional[str] = ..., protected: _Optional[_Iterable[str]] = ..., part: _Optional[bool] = ..., requires: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("serial", "digest")
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    serial: int
    digest: bytes
    def __init__(self, serial: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("by", "source", "rollback_of")
    BY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_OF_FIELD_NUMBER: _ClassVar[int]
    by: str
    source: str
    rollback_of: int
    def __init__(self, by: _Optional[str] = ..., source: _Optional[str] = ..., rollback_of: _Optional[int] = ...) -> None: ...

class Application(_message.Message):
    __slots__ = ("name", "mode", "default", "precedence", "match", "dry_run", "denylist_in_monitoring", "hosts", "deny")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    PRECEDENCE_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    DENYLIST_IN_MONITORING_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    DENY_FIELD_NUMBER: _ClassVar[int]
    name: str
    mode: str
    default: str
    precedence: str
    match: str
    dry_run: bool
    denylist_in_monitoring: bool
    hosts: _containers.RepeatedScalarFieldContainer[str]
    deny: DenyAnswer
    def __init__(self, name: _Optional[str] = ..., mode: _Optional[str] = ..., default: _Optional[str] = ..., precedence: _Optional[str] = ..., match: _Optional[str] = ..., dry_run: _Optional[bool] = ..., denylist_in_monitoring: _Optional[bool] = ..., hosts: _Optional[_Iterable[str]] = ..., deny: _Optional[_Union[DenyAnswer, _Mapping]] = ...) -> None: ...

class DenyAnswer(_message.Message):
    __slots__ = ("status", "body", "content_type")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    status: int
    body: str
    content_type: str
    def __init__(self, status: _Optional[int] = ..., body: _Optional[str] = ..., content_type: _Optional[str] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("id", "list", "action", "applications", "starts", "expires", "reason", "author", "subjects", "added")
    ID_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    APPLICATIONS_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    id: str
    list: str
    action: str
    applications: _containers.RepeatedScalarFieldContainer[str]
    starts: int
    expires: int
    reason: str
    author: str
    subjects: _containers.RepeatedScalarFieldContainer[str]
    added: int
    def __init__(self, id: _Optional[str] = ..., list: _Optional[str] = ..., action: _Optional[str] = ..., applications: _Optional[_Iterable[str]] = ..., starts: _Optional[int] = ..., expires: _Optional[int] = ..., reason: _Optional[str] = ..., author: _Optional[str] = ..., subjects: _Optional[_Iterable[str]] = ..., added: _Optional[int] = ...) -> None: ...

class Feed(_message.Message):
    __slots__ = ("source", "path", "format", "entries", "kept_since", "problem")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    KEPT_SINCE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    source: str
    path: str
    format: str
    entries: int
    kept_since: int
    problem: str
    def __init__(self, source: _Optional[str] = ..., path: _Optional[str] = ..., format: _Optional[str] = ..., entries: _Optional[int] = ..., kept_since: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...

class Forced(_message.Message):
    __slots__ = ("by", "refusal")
    BY_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    by: str
    refusal: str
    def __init__(self, by: _Optional[str] = ..., refusal: _Optional[str] = ...) -> None: ...

class Section(_message.Message):
    __slots__ = ("name", "offset", "length", "type", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    offset: int
    length: int
    type: str
    sha256: bytes
    def __init__(self, name: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., type: _Optional[str] = ..., sha256: _Optional[bytes] = ...) -> None: ...

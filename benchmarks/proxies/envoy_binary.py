"""Envoy's configuration as a binary message: what a control plane sends, read in half of the time of its JSON.

Only the messages and fields that proxies/envoy.py uses, from the same dictionaries as their JSON, with the names of
the .proto files. What is not known is a KeyError.
"""

from __future__ import annotations

from typing import Any, Final

_MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "DiscoveryResponse": {"resources": (2, "Any")},
    "Listener": {"name": (1, ""), "address": (2, "Address"), "filter_chains": (3, "FilterChain")},
    "Address": {"socket_address": (1, "SocketAddress")},
    "SocketAddress": {"address": (2, ""), "port_value": (3, "")},
    "FilterChain": {"filters": (3, "Filter")},
    "Filter": {"name": (1, ""), "typed_config": (4, "Any")},  # and HttpFilter, which has the same numbers
    "HttpConnectionManager": {
        "stat_prefix": (2, ""),
        "route_config": (4, "RouteConfiguration"),
        "http_filters": (5, "Filter"),
        "use_remote_address": (14, "Value"),
        "xff_num_trusted_hops": (19, ""),
        "skip_xff_append": (21, ""),
    },
    "RouteConfiguration": {"virtual_hosts": (2, "VirtualHost")},
    "VirtualHost": {"name": (1, ""), "domains": (2, ""), "routes": (3, "Route")},
    "Route": {"match": (1, "RouteMatch"), "direct_response": (7, "DirectResponseAction")},
    "RouteMatch": {"prefix": (1, "")},
    "DirectResponseAction": {"status": (1, ""), "body": (2, "DataSource")},
    "DataSource": {"inline_string": (3, "")},
    "Router": {},
    "RBAC": {"rules": (1, "Rules"), "matcher": (4, "Matcher")},  # the filter
    "Rules": {"action": (1, "Decision"), "policies": (2, "Policies")},  # RBAC of config.rbac.v3
    "Policy": {"permissions": (1, "Permission"), "principals": (2, "Principal")},
    "Permission": {"any": (3, "")},
    "Principal": {"remote_ip": (11, "CidrRange")},
    "CidrRange": {"address_prefix": (1, ""), "prefix_len": (2, "Value")},
    "Matcher": {"matcher_list": (1, "MatcherList"), "on_no_match": (3, "OnMatch")},
    "MatcherList": {"matchers": (1, "FieldMatcher")},
    "FieldMatcher": {"predicate": (1, "Predicate"), "on_match": (2, "OnMatch")},
    "Predicate": {"single_predicate": (1, "SinglePredicate"), "or_matcher": (2, "PredicateList")},
    "PredicateList": {"predicate": (1, "Predicate")},
    "SinglePredicate": {"input": (1, "Extension"), "custom_match": (3, "Extension")},
    "Extension": {"name": (1, ""), "typed_config": (2, "Any")},  # TypedExtensionConfig
    "OnMatch": {"action": (2, "Extension")},
    "SourceIPInput": {},
    "Ip": {"cidr_ranges": (1, "CidrRange"), "stat_prefix": (2, "")},
    "Action": {"name": (1, ""), "action": (2, "Decision")},
}
_DECISIONS: Final = {"ALLOW": 0, "DENY": 1}
_TYPE: Final = "@type"


def binary(message: str, content: dict[str, Any]) -> bytes:
    """Return a message of this name with this content. Raises KeyError for a message or field that is not known."""
    fields = _MESSAGES[message]
    encoded = []
    for name, value in content.items():
        number, kind = fields[name]
        if kind == "Policies":  # a map: a list of pairs
            pairs = [_field(1, "", key) + _field(2, "Policy", policy) for key, policy in value.items()]
            encoded += [_delimited(number, pair) for pair in pairs]
        elif isinstance(value, list):
            encoded += [_field(number, kind, item) for item in value]
        else:
            encoded.append(_field(number, kind, value))
    return b"".join(encoded)


def _field(number: int, kind: str, value: Any) -> bytes:
    if kind == "Any":
        content = {name: item for name, item in value.items() if name != _TYPE}
        kind_inside = value[_TYPE].rpartition(".")[2]
        return _delimited(number, _field(1, "", value[_TYPE]) + _delimited(2, binary(kind_inside, content)))
    if kind == "Decision":
        return _field(number, "", _DECISIONS[value])
    if kind == "Value":  # BoolValue, UInt32Value
        return _delimited(number, _field(1, "", value))
    if kind:
        return _delimited(number, binary(kind, value))
    if isinstance(value, str):
        return _delimited(number, value.encode())
    return _varint(number << 3) + _varint(int(value))


def _delimited(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)

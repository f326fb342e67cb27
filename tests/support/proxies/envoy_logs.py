"""Entries of Envoy's access log service by envoy-data-plane, a library that shares nothing with authz."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():  # it uses what pydantic will give up, at import
    warnings.simplefilter("ignore", DeprecationWarning)
    import envoy_data_plane.envoy.config.core.v3 as core
    import envoy_data_plane.envoy.data.accesslog.v3 as data
    import envoy_data_plane.envoy.service.accesslog.v3 as service
    import envoy_data_plane.google.protobuf as wkt

DECIDED = {"client": "203.0.113.9", "application": "shop", "decision": "allow"}


def log_entry(
    decided: dict[str, str] | None = None, waf: dict[str, wkt.Value] | None = None
) -> data.HttpAccessLogEntry:
    """Return an entry of `POST /login`, answered 401, by a connection from 10.0.0.1.

    decided: authz's metadata. waf: those of the namespace `acme.waf`.
    """
    fields = {name: wkt.Value(string_value=text) for name, text in (decided or {}).items()}
    of_filters = {"envoy.filters.http.ext_authz": wkt.Struct(fields=fields), "acme.waf": wkt.Struct(fields=waf or {})}
    metadata = core.Metadata(filter_metadata=of_filters)
    return data.HttpAccessLogEntry(
        common_properties=data.AccessLogCommon(
            downstream_remote_address=core.Address(socket_address=core.SocketAddress(address="10.0.0.1")),
            metadata=metadata if decided else None,
        ),
        request=data.HttpRequestProperties(
            request_method=core.RequestMethod.POST, path="/login", authority="shop.example.com", request_id="r1"
        ),
        response=data.HttpResponseProperties(response_code=401),
    )


def log_message(*entries: data.HttpAccessLogEntry) -> bytes:
    """Return a message of the stream."""
    logs = service.StreamAccessLogsMessageHttpAccessLogEntries(log_entry=list(entries))
    return bytes(service.StreamAccessLogsMessage(http_logs=logs))


def text_value(text: str) -> wkt.Value:
    return wkt.Value(string_value=text)


def texts_value(*texts: str) -> wkt.Value:
    return wkt.Value(list_value=wkt.ListValue(values=[text_value(text) for text in texts]))

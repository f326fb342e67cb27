"""What must hold between the keys of a front, `grpc` or `http`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authz.serve.listeners.tls.config import check_tls

if TYPE_CHECKING:
    from authz.strict_yaml.document import Document


def check_front(document: Document[Any], name: str, front: Any) -> None:
    """Note the mistakes that lie between the keys of a front. name: its section."""
    if front.tls is not None:
        check_tls(document, f"{name}.tls", front.tls)
        if getattr(front, "engine", "native") == "grpcio":
            for key in ("clients", "client_crl"):
                if getattr(front.tls, key):
                    document.mistake(f"{name}.tls.{key}", "found with the engine grpcio, expected 'native' or 'auto'")
    of_a_peer, of_all = front.max_connections_per_peer or 0, front.max_connections
    if of_a_peer > of_all and not document.spoiled(front):
        text = f"found {of_a_peer}, expected at most {of_all}, the value of max_connections"
        document.mistake(f"{name}.max_connections_per_peer", text)

"""authz: an external-authorization sidecar for Envoy and NGINX."""

__version__ = "0.1.0"

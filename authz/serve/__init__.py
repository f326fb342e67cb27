"""The sidecar: it answers proxies from the snapshots that it has loaded.

process sidecar         what `authz serve` runs; all of it put together, its start and its end
workers/                several processes that answer, and one that loads
config/                 authz.yaml
layers/                 how a snapshot is found, verified and swapped in
grpc/ http2/            the gRPC front: its services; our HTTP/2 below them
http1/                  the HTTP front: auth_request, forward-auth and Envoy's http_service
listeners/              sockets: TCP, unix, systemd's, TLS
admin/                  health, metrics and pages of the admin port
observe/                metrics, decision log, traces, events
background              threads for what may block
steps                   long work in steps, with others' turns between them
"""

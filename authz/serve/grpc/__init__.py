"""The gRPC front: Envoy's ext_authz, health checks and reflection. How a call is read and fails: `serve/http2/grpc_*`.

check responses    from the bytes of a CheckRequest to the bytes of its answer
health reflection  what grpcurl, load balancers and Kubernetes ask
engine             which engine serves: `native`, on our own HTTP/2, or `grpcio`
servicer           the check for a grpcio server of somebody else (library)
drain_envoy        asks the Envoy of a pod to drain
"""

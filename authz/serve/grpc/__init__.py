"""The gRPC front: Envoy's ext_authz, on our own HTTP/2 or on grpcio."""

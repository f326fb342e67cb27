"""Our own HTTP/2, for gRPC calls."""

"""The sidecar: configuration, the check, the gRPC and HTTP fronts, reload, metrics, decision log, life cycle."""

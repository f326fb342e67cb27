"""Hostile peers of the gRPC front: what they cost a sidecar, and a polite client beside them. See `run`."""

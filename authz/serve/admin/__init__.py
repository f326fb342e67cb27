"""The admin listener and its state: liveness, readiness, metrics, what is loaded."""

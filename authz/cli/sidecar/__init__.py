"""Commands of who runs a sidecar: `serve`, `check-config`, `print-config`, `doctor`."""

"""Manifests: built by kustomize, checked against each other, and applied to a real API server."""

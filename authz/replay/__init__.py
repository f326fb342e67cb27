"""Deciding again what was asked before: requests from JSON lines and access logs, by the same code as `authz serve`."""

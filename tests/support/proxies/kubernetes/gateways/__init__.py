"""Gateways as programs of their own, and what they make of our folders."""

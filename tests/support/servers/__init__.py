"""Servers that tests start or are: a receiver of messages, Valkey."""

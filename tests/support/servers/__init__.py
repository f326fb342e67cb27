"""Servers that tests start or are: web servers, a receiver of messages, PostgreSQL, Valkey, a sign-on."""

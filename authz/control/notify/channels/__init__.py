"""Channels: how a message gets to people and programs. Each sends one message, or raises NotTaken.

webhook      JSON by HTTP, signed
messengers   by the URLs of the library apprise
syslog       RFC 5424 with CEF
splunk       HTTP Event Collector
elastic      the bulk API, documents of ECS
http         what those by HTTP share
"""

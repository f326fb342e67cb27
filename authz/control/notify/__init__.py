"""Telling people and programs of what happens, by an outbox in the store.

config      `notify` of control.yaml: the channels; `messenger_schemes`: which URLs of messengers they may have
message     what is to be told, and what a message says; `template`: in other words, by Jinja2
outbox      what waits: written in the transaction of what it tells of; gathered into messages; retried
quiet       hours in which only what is urgent is told
sender      the thread that gathers and sends; one of all control planes of a store
channels    webhooks, messengers, syslog, Splunk, Elastic
watch       what is wrong now: refused layers, stale sidecars, broken feeds
first_hits  the first hit of a `warn` entry
trial       a message now, to try a channel
state       channels and messages as people see them
"""

"""What triggers would have done, before they are switched on.

on_log      with a log (`authz triggers test`)
on_events   with the events that the store has (`POST /v1/triggers/test`)
"""

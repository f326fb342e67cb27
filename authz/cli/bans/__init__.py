"""Bans that hold at once.

commands   `authz ban`, `unban` and `bans` on the command line
local      what they do with a file and its key on this machine (`authz.cli.control.bans`: with a control plane)
"""

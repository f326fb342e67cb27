"""`authz control`, and the commands that ask a control plane.

server      control init, serve, sign, prepare
admin/      the other verbs of `authz control`
bans        ban, unban, bans
entries     entries: show, count, add, load, change, delete, replace
lists       history, undo, rollback
explaining  explain, if there is no configuration of a sidecar
foreign     import: lists of other programs
notify      trying the channels of notifications
common/     asking the API, tables, completion
"""

from authz.cli.control.server import app

__all__ = ["app"]

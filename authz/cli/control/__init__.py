"""`authz control`, and the commands that ask a control plane.

server    init, serve, sign
client    asking the API that AUTHZ_CONTROL_URL names
bans      ban, unban, bans
entries   entries: show, add, change, delete, replace
lists     history, undo, rollback
explaining       explain, if there is no configuration of a sidecar
administration   control tokens, approvals, publications, feeds, api
events    control events export
notify    trying the channels of notifications
"""

from authz.cli.control.server import app

__all__ = ["app"]

"""`authz control`, and the commands that ask a control plane.

server    init, serve, sign
client    asking the API that AUTHZ_CONTROL_URL names
bans      ban, unban, bans
lists     entries, history, rollback
"""

from authz.cli.control.server import app

__all__ = ["app"]

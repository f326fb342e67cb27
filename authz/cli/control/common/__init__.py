"""What the commands that ask a control plane share.

client      asking the API that AUTHZ_CONTROL_URL names
shown       entries, history and lists as tables
completion  what a shell offers behind TAB
"""

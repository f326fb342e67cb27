"""The `authz` command: one module a group of commands, each thin.

main, app     where it starts, and all commands as one application
sidecar       serve, check-config, print-config (proxy_config/: what it prints), doctor
snapshot      snapshot build, inspect, show, search, lint, diff, history
control       commands that ask the control plane, and those that run it
common        output, errors, opening a decider
"""

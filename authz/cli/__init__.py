"""The `authz` command: one module a group of commands, each thin."""

"""TLS of the listeners: `config` (keys of authz.yaml), `context` (files), `certificates` (reloads), `connection`."""

"""Generated protobuf code: Envoy's ext_authz messages and the snapshot's manifest. See `make proto`."""

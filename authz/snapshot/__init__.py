"""The snapshot file: layout, signing, writing, reading. No policy in here; see docs/internals/snapshot-format.md."""

"""The snapshot file. No policy in here; see docs/internals/snapshot-format.md.

layout heading        the bytes of a file, and what its manifest says of it as a whole
sections              names and types of the sections; `lazy_entries`: entries, `singles`: single addresses, `ban_ids`
read write            a whole file, checked and made
signing/              who signed it: envelope, keys, signers
sealed_memory         a copy that nobody can change; `cooperative`: long work in turns
rollback_guard        the highest serial ever accepted
archive               builds that were published, kept to look back
"""

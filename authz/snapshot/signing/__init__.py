"""Who signed a snapshot.

key_id    the id of a public key, in every envelope that it signed
envelope  the signed envelope (DSSE), and the check of its signatures
keys      public keys: all that a sidecar needs
signers   private keys and signing, for the publisher
"""

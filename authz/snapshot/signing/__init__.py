"""Who signed a snapshot.

envelope  the signed envelope (DSSE), and the check of its signatures
keys      public keys: all that a sidecar needs
signers   private keys and signing, for the publisher
"""

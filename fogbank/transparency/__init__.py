"""Evidence that the log was not changed: a Merkle tree over its commits, and signed checkpoints.

The tree is that of RFC 6962, section 2; the checkpoints are C2SP's tlog-checkpoint, which is a
signed note (https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note). Pure: bytes in, bytes
out.
"""

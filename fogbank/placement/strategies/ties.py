"""Which of equally good nodes comes first: the stable order, or an integer hash."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from fogbank.placement.arrays import Keys

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def tie_keys(prev_digest: bytes, deployment_id: str, node_keys: Keys) -> Keys:
    """Return a 64-bit number for each node; of equally good ones the lowest comes first.

    The finaliser of SplitMix64 (Steele et al., OOPSLA 2014) over the node's key and a seed of the
    round before and the deployment.
    """
    seed = sha256(prev_digest + deployment_id.encode()).digest()[:8]
    mixed = (node_keys ^ np.uint64(int.from_bytes(seed, "big"))) + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    keys: Keys = mixed ^ (mixed >> np.uint64(31))
    return keys

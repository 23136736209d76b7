"""The Merkle tree over the log's commits, as RFC 6962 (section 2.1) and RFC 9162 (2.1) define it.

Leaf i is the commit of sequence i + 1. A node is named by its level (0 for leaves) and its index in
that level; it exists once all leaves under it do. All hashes are SHA-256, 32 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

_LEAF, _NODE = b"\x00", b"\x01"
EMPTY_ROOT = sha256(b"").digest()

# Returns the hash of a complete node by level and index.
HashOf = Callable[[int, int], bytes]


class ProofError(ValueError):
    """A proof does not prove what it should."""


def leaf_hash(service: str, instance: str, digest: bytes) -> bytes:
    """Return the hash of a commit: of who wrote it, by the subject it came on, and of its digest.

    The leaf's entry holds the SHA-256 of the commit's bytes in their place, so that who has
    compared the bytes by it hashes them no second time. Neither name holds a line break, and no
    two commits share what is hashed.
    """
    return sha256(b"%b%b/%b\n%b" % (_LEAF, service.encode(), instance.encode(), digest)).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node with two children."""
    return sha256(_NODE + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """A growing tree, of which only what the next leaf may need is kept.

    `hashes` are the roots of the complete subtrees that make up `size` leaves, the largest first:
    one for each 1 in the binary form of `size`.
    """

    size: int = 0
    hashes: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf by its hash; return the nodes that it completes, as (level, index, hash)."""
        index, level, hashed = self.size, 0, leaf
        completed = [(0, index, leaf)]
        while index & 1:
            hashed = node_hash(self.hashes.pop(), hashed)
            index, level = index >> 1, level + 1
            completed.append((level, index, hashed))
        self.hashes.append(hashed)
        self.size += 1
        return completed

    @property
    def root(self) -> bytes:
        """The root of all leaves so far."""
        return _folded(self.hashes) if self.hashes else EMPTY_ROOT


def _folded(hashes: Sequence[bytes]) -> bytes:
    """Return the root over complete subtrees that stand side by side, the largest first."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over hashes of leaves."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root


def subtrees(begin: int, end: int) -> list[tuple[int, int]]:
    """Return the complete nodes, as (level, index), that cover the leaves begin..end-1 in order.

    `begin` is where a subtree of that many leaves would begin, as everywhere in these trees.
    """
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append((level, begin >> level))
        begin += 1 << level
    return nodes


def _root_between(begin: int, end: int, hash_of: HashOf) -> bytes:
    return _folded([hash_of(level, index) for level, index in subtrees(begin, end)])


def _split(size: int) -> int:
    """Return the largest power of two below `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, hash_of: HashOf) -> list[bytes]:
    """Return the audit path of leaf `index` in a tree of `size` leaves, the lowest hash first.

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not one of {size}")
    begin, end = 0, size
    path = []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(_root_between(middle, end, hash_of))
            end = middle
        else:
            path.append(_root_between(begin, middle, hash_of))
            begin = middle
    return path[::-1]


def check_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf is in a tree of that size and root (RFC 9162, section 2.1.3.2).

    Raises:
        ProofError: it is not, or the path is none.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not one of {size}")
    node, last, hashed = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofError("the path is too long")
        if node & 1 or node == last:
            hashed = node_hash(sibling, hashed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            hashed = node_hash(hashed, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("the path is too short")
    if hashed != root:
        raise ProofError(f"the path leads to the root {hashed.hex()}, not to {root.hex()}")


def consistency_proof(former: int, size: int, hash_of: HashOf) -> list[bytes]:
    """Return the proof that a tree of `size` leaves begins with that of `former` leaves.

    Raises:
        ValueError: `former` is not 1 to `size`.
    """
    if not 0 < former <= size:
        raise ValueError(f"a tree of {former} leaves cannot be the beginning of one of {size}")
    begin, end, whole = 0, size, True
    path = []
    while former != end:
        middle = begin + _split(end - begin)
        if former <= middle:
            path.append(_root_between(middle, end, hash_of))
            end = middle
        else:
            path.append(_root_between(begin, middle, hash_of))
            begin, whole = middle, False
    if not whole:
        path.append(_root_between(begin, end, hash_of))
    return path[::-1]


def check_consistency(
    former: int, former_root: bytes, size: int, root: bytes, path: Sequence[bytes]
) -> None:
    """Check that a tree only grew (RFC 9162, section 2.1.4.2).

    Raises:
        ProofError: it did not, or the path is none.
    """
    if not 0 < former <= size:
        raise ProofError(f"a tree of {former} leaves cannot be the beginning of one of {size}")
    if former == size:
        if path or former_root != root:
            raise ProofError("two trees of the same size have different roots")
        return
    hashes = list(path) if former & (former - 1) else [former_root, *path]
    if not hashes:
        raise ProofError("the path is too short")
    node, last = former - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofError("the path is too long")
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("the path is too short")
    if old != former_root or new != root:
        raise ProofError("the larger tree does not begin with the smaller one")

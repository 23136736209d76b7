"""The tree over the log as the ledger grows it: what a transaction adds, what a proof needs.

Kept are the frontier, which goes on with the next commit, and the roots of every 256 commits, of
every 256 of those, and so on: any other node is computed from 256 of them, or of the commits
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from fogbank.transparency.tree import Frontier, HashOf, leaf_hash, node_hash
from services.ledger.core.rows import TableRow

# Nodes are kept at each level that is a multiple of this.
LEVELS_APART = 8
_HASH_BYTES = 32

# A node: its level and its index in it.
Node = tuple[int, int]


class TreeNodeRow(TableRow, frozen=True):
    """A node that is kept; `number` is its index in its level."""

    level: int
    number: int
    hash: bytes


class TreeHead(NamedTuple):
    """How far the tree has grown: the number of commits and the hashes of the frontier in a row."""

    size: int = 0
    frontier: bytes = b""

    def grow_on(self) -> Frontier:
        """Return the frontier."""
        hashes = self.frontier
        return Frontier(
            self.size, [hashes[at : at + _HASH_BYTES] for at in range(0, len(hashes), _HASH_BYTES)]
        )


class TreeGrowth(NamedTuple):
    """What a transaction adds to the tree."""

    head: TreeHead
    nodes: tuple[TreeNodeRow, ...] = ()


EMPTY_TREE = TreeHead()


class LogTree:
    """The tree while it grows."""

    def __init__(self, head: TreeHead = EMPTY_TREE) -> None:
        self._frontier = head.grow_on()
        self._nodes: list[TreeNodeRow] = []

    @property
    def size(self) -> int:
        """How many commits it is over."""
        return self._frontier.size

    @property
    def root(self) -> bytes:
        """The root over all of them."""
        return self._frontier.root

    def take(self, service: str, instance: str, digest: bytes) -> None:
        """Add the next commit, by the SHA-256 of its bytes."""
        for level, index, hashed in self._frontier.append(leaf_hash(service, instance, digest)):
            if level and level % LEVELS_APART == 0:
                self._nodes.append(TreeNodeRow(level, index, hashed))

    def grown(self) -> TreeGrowth:
        """Return what was added since the last time."""
        nodes, self._nodes = tuple(self._nodes), []
        return TreeGrowth(TreeHead(self.size, b"".join(self._frontier.hashes)), nodes)


def nodes_completed(former: int, size: int) -> list[Node]:
    """Return the kept nodes that a tree of `former` commits completes as it grows to `size`."""
    nodes: list[Node] = []
    level = LEVELS_APART
    while size >> level:
        nodes += ((level, index) for index in range(former >> level, size >> level))
        level += LEVELS_APART
    return nodes


def nodes_needed(proof: Callable[[HashOf], object]) -> set[Node]:
    """Return the kept nodes and leaves that a proof is computed from.

    `proof` is run on hashes that mean nothing, to see which ones it asks for.
    """
    wanted: set[Node] = set()

    def asked(level: int, index: int) -> bytes:
        wanted.update(_kept_under(level, index))
        return b""

    proof(asked)
    return wanted


def hashes_from(known: Mapping[Node, bytes]) -> HashOf:
    """Return how to get any node from the kept nodes and leaves under it."""

    def hash_of(level: int, index: int) -> bytes:
        if level % LEVELS_APART == 0:
            return known[level, index]
        return node_hash(hash_of(level - 1, 2 * index), hash_of(level - 1, 2 * index + 1))

    return hash_of


def _kept_under(level: int, index: int) -> Iterable[Node]:
    """Return the nodes at the next kept level under a node, or the node itself."""
    down = level % LEVELS_APART
    first = index << down
    return ((level - down, each) for each in range(first, first + (1 << down)))

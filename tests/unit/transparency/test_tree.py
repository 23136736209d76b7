"""The tree: published roots, and proofs for every leaf of every small tree."""

from hashlib import sha256

import pytest

from fogbank.transparency.tree import (
    EMPTY_ROOT,
    Frontier,
    ProofError,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
)

# The inputs and roots that Certificate Transparency's implementations test each other with.
INPUTS = (
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
)
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
LEAVES = [sha256(b"\x00" + data).digest() for data in INPUTS]


class Tree:
    """Every node of a tree, by level and index."""

    def __init__(self, leaves: int) -> None:
        self.leaves = [
            leaf_hash("gateway", "one", str(number).encode()) for number in range(leaves)
        ]
        self.nodes: dict[tuple[int, int], bytes] = {}
        frontier = Frontier()
        for leaf in self.leaves:
            for level, index, hashed in frontier.append(leaf):
                self.nodes[level, index] = hashed
        self.root = frontier.root

    def hash_of(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


TREES = [Tree(size) for size in range(20)]


def test_the_roots_are_those_published() -> None:
    assert sha256(b"").hexdigest() == EMPTY_ROOT.hex() == root_of([]).hex()
    assert [root_of(LEAVES[:size]).hex() for size in range(1, 9)] == list(ROOTS)


def test_a_tree_goes_on_from_its_frontier() -> None:
    frontier = Frontier()
    for size, leaf in enumerate(LEAVES, start=1):
        frontier = Frontier(frontier.size, list(frontier.hashes))
        completed = frontier.append(leaf)
        assert frontier.root.hex() == ROOTS[size - 1]
        assert len(frontier.hashes) == size.bit_count()
        assert [(level, index) for level, index, _ in completed] == [
            (level, (size >> level) - 1) for level in range((size & -size).bit_length())
        ]


@pytest.mark.parametrize("tree", TREES[1:], ids=lambda tree: f"{len(tree.leaves)} leaves")
def test_each_leaf_is_proved_and_no_other(tree: Tree) -> None:
    size = len(tree.leaves)
    for index, leaf in enumerate(tree.leaves):
        path = inclusion_proof(index, size, tree.hash_of)
        check_inclusion(leaf, index, size, path, tree.root)
        with pytest.raises(ProofError, match="leads to the root"):
            check_inclusion(LEAVES[0], index, size, path, tree.root)
        with pytest.raises(ProofError, match="too long"):
            check_inclusion(leaf, index, size, [*path, leaf], tree.root)
        if path:
            with pytest.raises(ProofError):
                check_inclusion(leaf, index, size, path[:-1], tree.root)
    with pytest.raises(ProofError, match="is not one of"):
        check_inclusion(tree.leaves[0], size, size, [], tree.root)
    with pytest.raises(ValueError, match="is not one of"):
        inclusion_proof(size, size, tree.hash_of)


@pytest.mark.parametrize("tree", TREES[1:], ids=lambda tree: f"{len(tree.leaves)} leaves")
def test_a_tree_that_only_grew_is_told_from_one_that_did_not(tree: Tree) -> None:
    size = len(tree.leaves)
    for former in range(1, size + 1):
        path = consistency_proof(former, size, tree.hash_of)
        smaller = TREES[former].root
        check_consistency(former, smaller, size, tree.root, path)
        with pytest.raises(ProofError):
            check_consistency(former, LEAVES[0], size, tree.root, path)
        with pytest.raises(ProofError):
            check_consistency(former, smaller, size, LEAVES[0], path)
        with pytest.raises(ProofError):
            check_consistency(former, smaller, size, tree.root, [*path, LEAVES[0]])
        if path:
            with pytest.raises(ProofError):
                check_consistency(former, smaller, size, tree.root, path[:-1])
    with pytest.raises(ProofError, match="cannot be the beginning"):
        check_consistency(size + 1, tree.root, size, tree.root, [])
    with pytest.raises(ValueError, match="cannot be the beginning"):
        consistency_proof(0, size, tree.hash_of)


def test_who_wrote_a_commit_is_part_of_its_leaf() -> None:
    leaves = {
        leaf_hash("gateway", "one", b"data"),
        leaf_hash("scheduler", "one", b"data"),
        leaf_hash("gateway", "two", b"data"),
        leaf_hash("gateway", "one", b"date"),
    }
    assert len(leaves) == 4


def test_a_leaf_is_the_rfc_6962_hash_of_its_writer_and_digest() -> None:
    entry = b"gateway/one\n" + sha256(b"data").digest()
    assert leaf_hash("gateway", "one", sha256(b"data").digest()) == sha256(b"\0" + entry).digest()

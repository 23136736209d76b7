"""The tree as the ledger keeps it: what is kept is enough for every proof."""

from functools import partial

import pytest

from fogbank.transparency.tree import (
    Frontier,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
)
from services.ledger.core.log_tree import (
    EMPTY_TREE,
    LogTree,
    Node,
    TreeHead,
    hashes_from,
    nodes_completed,
    nodes_needed,
)

SIZES = (1, 2, 255, 256, 257, 600, 1_027)
LEAVES = [leaf_hash("gateway", "one", str(number).encode()) for number in range(max(SIZES))]


def grown(size: int, head: TreeHead = EMPTY_TREE) -> tuple[TreeHead, dict[Node, bytes]]:
    tree = LogTree(head)
    for number in range(tree.size, size):
        tree.take("gateway", "one", str(number).encode())
    growth = tree.grown()
    assert tree.grown().nodes == ()
    return growth.head, {(row.level, row.number): row.hash for row in growth.nodes}


@pytest.mark.parametrize("size", SIZES)
def test_what_is_kept_is_enough_for_proofs(size: int) -> None:
    head, kept = grown(size)
    root = head.grow_on().root
    leaves = {(0, index): leaf for index, leaf in enumerate(LEAVES[:size])}
    for index in {0, 1, size // 2, size - 1} & set(range(size)):
        proof = partial(inclusion_proof, index, size)
        needed = nodes_needed(proof)
        assert needed <= leaves.keys() | kept.keys()
        assert len(needed) < 2 * 256 + 8
        path = proof(hashes_from({node: (leaves | kept)[node] for node in needed}))
        check_inclusion(LEAVES[index], index, size, path, root)
    former = size // 2 + 1
    growth = partial(consistency_proof, former, size)
    path = growth(hashes_from({node: (leaves | kept)[node] for node in nodes_needed(growth)}))
    check_consistency(former, grown(former)[0].grow_on().root, size, root, path)


def test_a_tree_goes_on_from_its_head() -> None:
    halfway, before = grown(300)
    head, after = grown(1_027, halfway)
    whole, nodes = grown(1_027)
    assert (head, before | after) == (whole, nodes)
    assert sorted(nodes) == [(8, index) for index in range(4)]
    frontier = Frontier()
    for leaf in LEAVES:
        frontier.append(leaf)
    assert head.grow_on() == frontier


@pytest.mark.parametrize(("former", "size"), [(0, 70_000), (0, 255), (255, 256), (65_535, 65_537)])
def test_the_nodes_that_a_tree_completes_are_known_before(former: int, size: int) -> None:
    tree = LogTree()
    for _ in range(former):
        tree.take("gateway", "one", b"")
    tree.grown()
    for _ in range(former, size):
        tree.take("gateway", "one", b"")
    grown = [(row.level, row.number) for row in tree.grown().nodes]
    assert sorted(nodes_completed(former, size)) == sorted(grown)

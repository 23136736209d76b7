"""Whether a node may take a replica: the checker's own reading of the filters."""

from __future__ import annotations

from fogbank.checker.devices import copies_on_devices
from fogbank.checker.world import DIMENSIONS, Amounts, Deployment, Node, Wish, World
from fogbank.v1 import deployments_pb2


def unmet_constraint(node: Node, deployment: Deployment) -> str:
    """Return the first demand that a node does not meet, in words; empty if it meets all."""
    wanted_model = deployment.spec.gpu_model
    if wanted_model and node.traits.get("gpu_model") != wanted_model:
        return f"GPU model {wanted_model}"
    for constraint in deployment.spec.constraints:
        if not _met(constraint, node.traits.get(constraint.attribute)):
            operator = deployments_pb2.ConstraintOperator.Name(constraint.operator)
            words = operator.removeprefix("CONSTRAINT_OPERATOR_").lower().replace("_", " ")
            return f"{constraint.attribute} {words} {', '.join(constraint.values)}".strip()
    return ""


def _met(constraint: deployments_pb2.Constraint, value: str | None) -> bool:
    if constraint.operator == deployments_pb2.CONSTRAINT_OPERATOR_EXISTS:
        return value is not None
    listed = value in constraint.values
    if constraint.operator == deployments_pb2.CONSTRAINT_OPERATOR_NOT_EQUAL:
        return not listed
    return listed


def exceeded(node: Node, taken: list[int]) -> str:
    """Return in which dimension `taken` is more than a node has, in words; empty if in none."""
    for dimension, amount in enumerate(taken):
        if amount > node.allocatable[dimension]:
            return f"{amount} of {node.allocatable[dimension]} {DIMENSIONS[dimension]}"
    return ""


def neighbours(node: Node, deployment_id: str) -> list[str]:
    """Return the deployment's replicas on a node that are wanted and have not ended."""
    return [
        replica.id
        for replica in node.replicas.values()
        if replica.deployment_id == deployment_id and replica.wish is not Wish.RELEASED
    ]


def fits_empty_node(world: World, ask: Amounts) -> bool:
    """Tell whether any known node could take the ask if it were empty."""
    return any(not exceeded(node, list(ask)) for node in world.nodes.values() if not node.removed)


def places_for(
    world: World, deployment: Deployment, enough: int, most_stopping: int | None = None
) -> int:
    """Return how many more replicas of a deployment there are places for, counted to `enough`.

    Where more than `most_stopping` others still stop, only room that none of them holds counts.
    """
    found = 0
    for node in world.nodes.values():
        if node.offline or node.closed or node.removed or node.load_percent > world.busy_percent:
            continue
        if unmet_constraint(node, deployment):
            continue
        held = most_stopping is not None and stopping(node) > most_stopping
        if held and deployment.ask[-1]:
            continue  # what is held of devices is not seen in sums
        if deployment.spec.allow_colocation:
            found += _copies(node, deployment.ask, enough, held=held)
        elif not neighbours(node, deployment.id):
            found += _copies(node, deployment.ask, 1, held=held)
        if found >= enough:
            break
    return found


def stopping(node: Node) -> int:
    """Return how many replicas on a node were released and have not ended."""
    return sum(replica.wish is Wish.RELEASED for replica in node.replicas.values())


def _copies(node: Node, ask: Amounts, at_most: int, *, held: bool) -> int:
    taken = list(node.held if held else node.booked)
    at_most = copies_on_devices(node, ask[-1], at_most)
    for copies in range(at_most):
        taken = [sum(pair) for pair in zip(taken, ask, strict=True)]
        if exceeded(node, taken):
            return copies
    return at_most

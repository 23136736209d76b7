"""Updates that nothing could ever carry out as the fleet is: told, as a deployment would be."""

from collections.abc import Iterable

import grpc

from fogbank.cli.connection import Connection
from fogbank.cli.failures import PlacementFailedError
from fogbank.v1 import deployment_service_pb2, deployments_pb2

# How the scheduler begins the reason of what no node, or no quota, could hold if it were empty.
_IMPOSSIBLE = "Impossible: "


def impossible_updates(
    connection: Connection, updated: Iterable[deployments_pb2.Deployment]
) -> list[PlacementFailedError]:
    """Return for each deployment that could run nowhere as it is asked for now why that is so.

    Where no scheduler answers nothing is known of it.
    """
    found: list[PlacementFailedError] = []
    for deployment in updated:
        request = deployment_service_pb2.PlanDeploymentRequest(spec=deployment.spec)
        try:
            plan = connection.call(connection.deployments.PlanDeployment, request, patience_s=0)
        except grpc.RpcError:
            return found  # a warning is not worth an error
        if plan.error.startswith(_IMPOSSIBLE):
            found.append(
                PlacementFailedError(
                    f"{deployment.spec.name}: {plan.error}",
                    hint="what ran before runs on, and the update waits; take it back with "
                    f"`fog rollout undo {deployment.id}`",
                )
            )
    return found

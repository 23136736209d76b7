"""A user of the gRPC face, for tests: signs in, deploys, waits."""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import grpc

from fogbank.v1 import (
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    deployments_pb2,
    identity_service_pb2,
    identity_service_pb2_grpc,
    node_service_pb2,
    node_service_pb2_grpc,
    nodes_pb2,
    resources_pb2,
)
from tests.support.fog_up import FogUp
from tests.support.waiting import eventually_sync

T = TypeVar("T")
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class GrpcUser:
    """One signed-in user of one gateway; calls are made again while it is away."""

    def __init__(self, channel: grpc.Channel, patience_s: float = 600) -> None:
        self.deployments = deployment_service_pb2_grpc.DeploymentServiceStub(channel)
        self.nodes = node_service_pb2_grpc.NodeServiceStub(channel)
        self.identity = identity_service_pb2_grpc.IdentityServiceStub(channel)
        self.token = ""
        self._patience_s = patience_s

    def call(self, method: Callable[..., T], request: Any) -> T:
        """Make a call; again for as long as the server is away."""
        deadline = time.monotonic() + self._patience_s

        def attempt() -> T | None:
            try:
                return method(request, timeout=20, metadata=self.metadata)
            except grpc.RpcError as error:
                if error.code() not in _AWAY or time.monotonic() > deadline:
                    raise
                return None

        answer = eventually_sync(attempt, self._patience_s + 5, what="an answer")
        assert answer is not None
        return answer

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def sign_in(self, name: str, password: str) -> None:
        """Get a token."""
        answer = self.call(
            self.identity.Login, identity_service_pb2.LoginRequest(username=name, password=password)
        )
        self.token = answer.tokens.access_token

    def create(
        self,
        name: str,
        *,
        replicas: int = 1,
        cpu_millicores: int = 1000,
        memory_mib: int = 512,
        storage_gib: int = 5,
        request_id: str = "",
        container_image: str = "nginx:1.24",
        **spec: Any,
    ) -> deployments_pb2.Deployment:
        """Deploy something small and return it once it is acknowledged."""
        answer = self.call(
            self.deployments.CreateDeployment,
            deployment_service_pb2.CreateDeploymentRequest(
                request_id=request_id or str(uuid4()),
                spec=deployments_pb2.DeploymentSpec(
                    name=name,
                    type=deployments_pb2.SERVICE_TYPE_COMPUTE,
                    container_image=container_image,
                    replicas=replicas,
                    resources=resources_pb2.Resources(
                        cpu_millicores=cpu_millicores,
                        memory_mib=memory_mib,
                        storage_gib=storage_gib,
                    ),
                    **spec,
                ),
            ),
        )
        return answer.deployment

    def get(self, deployment_id: str) -> deployments_pb2.Deployment:
        """Return a deployment with its replicas, or an empty one while it isn't visible."""
        try:
            answer = self.call(
                self.deployments.GetDeployment,
                deployment_service_pb2.GetDeploymentRequest(deployment_id=deployment_id),
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return deployments_pb2.Deployment()
            raise
        return answer.deployment

    def all_deployments(self, **filters: Any) -> list[deployments_pb2.Deployment]:
        """Return all deployments that there are."""
        found: list[deployments_pb2.Deployment] = []
        request = deployment_service_pb2.ListDeploymentsRequest(page_size=1000, **filters)
        while True:
            page = self.call(self.deployments.ListDeployments, request)
            found += page.deployments
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def all_nodes(self) -> list[nodes_pb2.Node]:
        """Return the fleet (of at most 1,000 nodes)."""
        answer = self.call(self.nodes.ListNodes, node_service_pb2.ListNodesRequest(page_size=1000))
        return list(answer.nodes)

    def wait_status(
        self,
        deployment_id: str,
        status: "deployments_pb2.DeploymentStatus.ValueType",
        timeout_s: float = 120,
    ) -> deployments_pb2.Deployment:
        """Wait until a deployment has a status and return it then."""
        last = deployments_pb2.Deployment()

        def there() -> bool:
            nonlocal last
            last = self.get(deployment_id)
            return last.status == status

        eventually_sync(there, timeout_s, what=f"status {status} of {deployment_id} ({last})")
        return last

    def delete(self, deployment_id: str) -> None:
        """Delete a deployment."""
        self.call(
            self.deployments.DeleteDeployment,
            deployment_service_pb2.DeleteDeploymentRequest(
                request_id=str(uuid4()), deployment_id=deployment_id
            ),
        )

    def delete_all(self, deployment_ids: Iterable[str], timeout_s: float = 120) -> None:
        """Delete deployments and wait until their nodes are free again."""
        for deployment_id in deployment_ids:
            self.delete(deployment_id)
        eventually_sync(
            lambda: all(node.held.cpu_millicores == 0 for node in self.all_nodes()),
            timeout_s,
            what="an empty fleet",
        )


@contextmanager
def grpc_admin(system: FogUp, patience_s: float = 600) -> Generator[GrpcUser]:
    """Be the first user of a running system while the context lasts."""
    state = system.state
    options = [
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    with grpc.insecure_channel(state["grpc"], options=options) as channel:
        user = GrpcUser(channel, patience_s)
        user.sign_in(state["admin_user"], state["admin_password"])
        yield user

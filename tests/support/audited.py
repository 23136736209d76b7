"""A ledger behind a gateway's AuditService, which knows users by their names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc.aio

from fogbank.runtime.grpc_server import GrpcServer
from fogbank.v1 import audit_service_pb2_grpc
from services.gateway.adapters.ledger_client import LedgerClient
from services.gateway.app.events import Events
from services.gateway.app.fold import FleetFold
from services.gateway.app.nodes import Nodes
from services.gateway.app.organizations import Organizations
from services.gateway.app.past import Past
from services.gateway.grpc_api.audit_service import AuditService
from services.gateway.grpc_api.authentication import Authenticate
from tests.support.ledger import Ledger, StoredLog
from tests.support.named_users import NamedUsers, named_identity


@asynccontextmanager
async def audited(ledger: Ledger, log: StoredLog) -> AsyncIterator[Any]:
    """Serve a ledger, and before it a gateway's AuditService, which knows users by their names."""
    behind = GrpcServer([])
    ledger.serve(behind.grpc)
    port = await behind.start("127.0.0.1:0")
    front = GrpcServer([], interceptors=[Authenticate(named_identity())])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client = LedgerClient(channel)
        fold = FleetFold(log.reader(), client)
        events = Events(fold, log.reader(), client, NamedUsers())
        past = Past(cast("Any", None), Nodes(fold, client), cast("Any", None))
        unused = cast("Any", None)
        organizations = Organizations(fold, unused, NamedUsers(), unused, unused)
        service = AuditService(
            log.reader(), events, client, past, organizations, subject_prefix="log."
        )
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(service, front.grpc)
        front_port = await front.start("127.0.0.1:0")
        following = asyncio.create_task(fold.run())
        try:
            await fold.reached(log.last)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{front_port}") as own:
                yield audit_service_pb2_grpc.AuditServiceStub(own)
        finally:
            following.cancel()
            await front.stop(0)
            await behind.stop(0)

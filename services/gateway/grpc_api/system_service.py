"""SystemService: what the system says of itself to anyone."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import grpc.aio

from fogbank.v1 import system_service_pb2 as pb
from fogbank.v1 import system_service_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]

_VERSION = version("fogbank")


class SystemService(rpc.SystemServiceServicer):
    """Answers without knowing who asks."""

    async def GetVersion(
        self, request: pb.GetVersionRequest, context: Context
    ) -> pb.GetVersionResponse:
        """Say which release this is."""
        return pb.GetVersionResponse(version=_VERSION)

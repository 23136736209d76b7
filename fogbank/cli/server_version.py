"""Which release a server is of."""

import grpc

from fogbank.cli.connection import open_channel
from fogbank.cli.failures import CommandError
from fogbank.cli.session import find_address, find_ca
from fogbank.v1 import system_service_pb2, system_service_pb2_grpc

_PATIENCE_S = 1.0


def server_version() -> str:
    """Return the version of the server that commands call, and where it is; empty for no answer."""
    address, source = find_address(None)
    try:
        with open_channel(address, source, find_ca(address)) as connection:
            stub = system_service_pb2_grpc.SystemServiceStub(connection.channel)
            asked = system_service_pb2.GetVersionRequest()
            answer = stub.GetVersion(asked, timeout=_PATIENCE_S)
    except (grpc.RpcError, CommandError):
        return ""
    return f"server {answer.version} at {address}"

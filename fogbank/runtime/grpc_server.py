"""A gRPC server and what belongs around it: health, reflection, channelz, keepalive, bearer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import grpc
import grpc.aio
import structlog
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from fogbank.runtime.grpc_interceptors import Boundary, RequireBearer
from fogbank.runtime.settings import host_and_port

_log = structlog.get_logger(__name__)

MAX_REQUEST_BYTES = 4 * 1024 * 1024
_MAX_ANSWER_BYTES = 32 * 1024 * 1024
_GRACE_S = 5.0

_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVING = health_pb2.HealthCheckResponse.SERVING


class GrpcServer:
    """A server to which servicers are added, which then starts, serves, and stops in good order.

    `add_XServicer_to_server(servicer, server.grpc)`, then `await server.start("127.0.0.1:0")`.
    Until `serving()` is called the health service answers NOT_SERVING.

    `token` demands that bearer of every caller (health and reflection apart); `interceptors` run
    inside the outermost one and inside the token's check; they raise FogErrors.
    """

    def __init__(
        self,
        service_names: Iterable[str],
        *,
        token: str | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        credentials: grpc.ServerCredentials | None = None,
        max_request_bytes: int = MAX_REQUEST_BYTES,
    ) -> None:
        self._names = tuple(service_names)
        self._credentials = credentials
        self._health = health.aio.HealthServicer()
        own = [Boundary(), *([RequireBearer(token)] if token else []), *interceptors]
        self.grpc = grpc.aio.server(interceptors=own, options=_options(max_request_bytes))
        self.port = 0
        self._stopped = False
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        channelz.add_channelz_servicer(self.grpc)
        self._add_reflection()

    def _add_reflection(self) -> None:
        names = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME, _REFLECTION_V1)
        servicer = reflection.aio.ReflectionServicer(names)
        add_reflection: Callable[..., None] = (
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server
        )
        add_reflection(servicer, self.grpc)
        # Version 1 has the same messages under another name, and new tools ask for nothing else.
        handler = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        self.grpc.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    _REFLECTION_V1, {"ServerReflectionInfo": handler}
                ),
            )
        )

    async def start(self, listen: str) -> int:
        """Listen on `listen` (host:port, 0 for a free port) and return the port.

        Raises:
            OSError: the address is taken or not ours.
        """
        self.port = self.listen(listen, self._credentials)
        await self._set_health(serving=False)
        await self.grpc.start()
        return self.port

    def listen(
        self, listen: str, credentials: grpc.ServerCredentials | None, protocol: str = "grpc"
    ) -> int:
        """Listen on one more address, from the start on; return the port.

        `protocol` is how the log calls it.

        Raises:
            OSError: the address is taken or not ours.
        """
        host, port = host_and_port(listen)
        address = f"{f'[{host}]' if ':' in host else host or '[::]'}:{port}"
        try:
            if credentials is None:
                port = self.grpc.add_insecure_port(address)
            else:
                port = self.grpc.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {listen}: {error}") from error
        secure = credentials is not None
        _log.info("listening", protocol=protocol, host=host, port=port, tls=secure)
        return port

    async def serving(self) -> None:
        """Say that calls are welcome. Only once everything that answers them is connected."""
        await self._set_health(serving=True)

    async def not_serving(self) -> None:
        """Say that calls had better go elsewhere; those that come are still answered."""
        await self._set_health(serving=False)

    async def stop(self, grace_s: float = _GRACE_S) -> None:
        """Refuse new calls, let those in flight finish for `grace_s` seconds, end the rest."""
        if self._stopped:
            return
        self._stopped = True
        await self._health.enter_graceful_shutdown()
        await self.grpc.stop(grace_s)

    async def _set_health(self, *, serving: bool) -> None:
        status = _SERVING if serving else _NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, status)


def _options(max_request_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_request_bytes),
        ("grpc.max_send_message_length", _MAX_ANSWER_BYTES),
        # Two processes on one port would share calls by chance.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Clients may ping this often without data, else they would be sent away.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 5),
    ]

"""A node's key and certificate: made when it joins, kept in its folder, renewed in time.

- `node.key`: the private key, made once, for its owner alone.
- `node.crt`: the node's certificate and, after it, the authority's; replaced when renewed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grpc
import grpc.aio
import structlog

from fogbank.domain.join_tokens import JoinToken
from fogbank.runtime.certificate_ends import GATEWAY_NAME, PEM_BEGIN, CertificateError, end_of
from fogbank.runtime.grpc_channel import open_channel
from fogbank.runtime.private_files import write_private
from fogbank.runtime.tls_errors import tls_advice
from fogbank.v1 import agent_service_pb2, agent_service_pb2_grpc
from services.node_agent.adapters.key_work import Job, KeyWork
from services.node_agent.app.ports import GatewayError

_log = structlog.get_logger(__name__)

_JOIN_S = 10.0
# A certificate is renewed when so much of its life is over; chance spreads a fleet's renewals.
_RENEW_FROM, _RENEW_TO = 0.6, 0.75
# What keeps a node from joining now and won't in a moment.
_PASSING = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})


@dataclass(frozen=True, slots=True)
class Shown:
    """What a node shows: another number means another certificate."""

    number: int
    credentials: grpc.ChannelCredentials


class NodeCredentials:
    """Proves who the node is; joins first if it must.

    `renew_at_s` is when to ask for a new certificate, in seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        join_addr: str | None,
        join_token: str,
        random: Random,
        *,
        key_work: KeyWork,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._key_file = folder / "node.key"
        self._certificate_file = folder / "node.crt"
        self._join_addr = join_addr
        self._join_token = join_token
        self._random = random
        self._key_work = key_work
        self._now_s = now_s
        self._number = 0
        self._ends_at_s: float | None = None
        self._shown: grpc.ChannelCredentials | None = None
        self.renew_at_s = 0.0

    @property
    def exists(self) -> bool:
        """Whether the node joined before."""
        return self._certificate_file.exists()

    async def shown(self, node_id: str) -> Shown:
        """Return what to show; join if the node has no certificate, or one that ended.

        Raises:
            GatewayError: it can't join; the text says what to do.
        """
        try:
            if self._ends_at_s is None and self.exists:
                await asyncio.to_thread(self._load)
            if self._ends_at_s is None or self._ends_at_s <= self._now_s():
                await self._join(node_id)
        except (CertificateError, OSError) as error:
            raise GatewayError(f"{self._certificate_file}: {error}", refused=True) from error
        if self._shown is None:
            raise RuntimeError("joined, and nothing to show")
        return Shown(self._number, self._shown)

    async def request(self, node_id: str) -> bytes:
        """Return a request for a certificate, signed with the node's key.

        Raises:
            GatewayError: the key can't be used.
        """
        return (await self._key_work.do(Job(str(self._key_file), node_id))).request

    async def keep(self, certificate_pem: str, authority_pem: str) -> None:
        """Keep a new certificate, to be shown from the next call on."""
        end_of(certificate_pem)
        text = certificate_pem + authority_pem
        await asyncio.to_thread(write_private, self._certificate_file, text)
        await asyncio.to_thread(self._load)

    def _load(self) -> None:
        key = self._key_file.read_text(encoding="utf-8")
        text = self._certificate_file.read_text(encoding="utf-8")
        ends_at_s = end_of(text)
        own, _, authority = text.removeprefix(PEM_BEGIN).partition(PEM_BEGIN)
        self._shown = grpc.ssl_channel_credentials(
            (PEM_BEGIN + authority).encode(), key.encode(), (PEM_BEGIN + own).encode()
        )
        self._ends_at_s = ends_at_s
        self._number += 1
        # It is dated back a little for hosts whose clocks are behind: count from now.
        left_s = ends_at_s - self._now_s()
        self.renew_at_s = self._now_s() + left_s * self._random.uniform(_RENEW_FROM, _RENEW_TO)

    async def _join(self, node_id: str) -> None:
        if not self._join_token or self._join_addr is None:
            state = "has expired" if self._ends_at_s is not None else "is missing"
            raise GatewayError(
                f"the node's certificate {state}: if this host's clock is right, make a token with "
                "`fog nodes token` and give it as FOG_JOIN_TOKEN, with FOG_JOIN_ADDR",
                refused=True,
            )
        try:
            token = JoinToken.parse(self._join_token)
        except ValueError as error:
            raise GatewayError(f"FOG_JOIN_TOKEN: {error}", refused=True) from error
        made = await self._key_work.do(
            Job(str(self._key_file), node_id, str(self._join_addr), token.authority)
        )
        request = agent_service_pb2.JoinRequest(
            token=self._join_token, node_id=node_id, certificate_request=made.request
        )
        credentials = grpc.ssl_channel_credentials(made.authority_pem.encode())
        async with open_channel(
            self._join_addr, credentials=credentials, server_name=GATEWAY_NAME
        ) as channel:
            stub = agent_service_pb2_grpc.AgentServiceStub(channel)
            try:
                joined = await stub.Join(request, timeout=_JOIN_S)
            except grpc.aio.AioRpcError as error:
                raise _refused(error) from error
        await self.keep(joined.certificate_pem, made.authority_pem)
        _log.info("joined", node=node_id, gateway=self._join_addr)


def _refused(error: grpc.aio.AioRpcError) -> GatewayError:
    details = error.details() or ""
    text = f"cannot join: {tls_advice(details) or details or error.code().name}"
    return GatewayError(text, refused=error.code() not in _PASSING)

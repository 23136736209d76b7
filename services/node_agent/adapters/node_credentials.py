"""A node's key and certificate: made when it joins, kept in its folder, renewed in time.

- `node.key`: the private key, made once, for its owner alone.
- `node.crt`: the node's certificate and, after it, the authority's; replaced when renewed.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grpc
import grpc.aio
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from fogbank.domain.join_tokens import JoinToken
from fogbank.runtime.certificates import (
    GATEWAY_NAME,
    Certificate,
    CertificateError,
    fingerprint,
    make_key,
    make_request,
)
from fogbank.runtime.grpc_channel import open_channel
from fogbank.runtime.private_files import make_once, write_private
from fogbank.runtime.settings import host_and_port
from fogbank.runtime.tls_errors import tls_advice
from fogbank.v1 import agent_service_pb2, agent_service_pb2_grpc
from services.node_agent.app.ports import GatewayError

_log = structlog.get_logger(__name__)

_HANDSHAKE_S = 5.0
_JOIN_S = 10.0
# A certificate is renewed when so much of its life is over; chance spreads a fleet's renewals.
_RENEW_FROM, _RENEW_TO = 0.6, 0.75
# What keeps a node from joining now and won't in a moment.
_PASSING = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
_BEGIN = "-----BEGIN CERTIFICATE-----"


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
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._key_file = folder / "node.key"
        self._certificate_file = folder / "node.crt"
        self._join_addr = join_addr
        self._join_token = join_token
        self._random = random
        self._now_s = now_s
        self._number = 0
        self._certificate: Certificate | None = None
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
            if self._certificate is None and self.exists:
                await asyncio.to_thread(self._load)
            if self._certificate is None or self._certificate.ends_at_s <= self._now_s():
                await self._join(node_id)
        except (CertificateError, OSError) as error:
            raise GatewayError(f"{self._certificate_file}: {error}", refused=True) from error
        if self._shown is None:
            raise RuntimeError("joined, and nothing to show")
        return Shown(self._number, self._shown)

    def request(self, node_id: str) -> bytes:
        """Return a request for a certificate, signed with the node's key."""
        return make_request(self._key_file.read_text(encoding="utf-8"), node_id)

    async def keep(self, certificate_pem: str, authority_pem: str) -> None:
        """Keep a new certificate, to be shown from the next call on."""
        Certificate.read(certificate_pem)
        text = certificate_pem + authority_pem
        await asyncio.to_thread(write_private, self._certificate_file, text)
        await asyncio.to_thread(self._load)

    def _load(self) -> None:
        key = self._key_file.read_text(encoding="utf-8")
        text = self._certificate_file.read_text(encoding="utf-8")
        certificate = Certificate.read(text)
        own, _, authority = text.removeprefix(_BEGIN).partition(_BEGIN)
        self._shown = grpc.ssl_channel_credentials(
            (_BEGIN + authority).encode(), key.encode(), (_BEGIN + own).encode()
        )
        self._certificate = certificate
        self._number += 1
        # It is dated back a little for hosts whose clocks are behind: count from now.
        left_s = certificate.ends_at_s - self._now_s()
        self.renew_at_s = self._now_s() + left_s * self._random.uniform(_RENEW_FROM, _RENEW_TO)

    async def _join(self, node_id: str) -> None:
        if not self._join_token or self._join_addr is None:
            state = "has expired" if self._certificate else "is missing"
            raise GatewayError(
                f"the node's certificate {state}: if this host's clock is right, make a token with "
                "`fog nodes token` and give it as FOG_JOIN_TOKEN, with FOG_JOIN_ADDR",
                refused=True,
            )
        try:
            token = JoinToken.parse(self._join_token)
        except ValueError as error:
            raise GatewayError(f"FOG_JOIN_TOKEN: {error}", refused=True) from error
        await asyncio.to_thread(make_once, self._key_file, make_key())
        authority = await asyncio.to_thread(_authority, self._join_addr, token.authority)
        request = agent_service_pb2.JoinRequest(
            token=self._join_token,
            node_id=node_id,
            certificate_request=await asyncio.to_thread(self.request, node_id),
        )
        credentials = grpc.ssl_channel_credentials(authority.encode())
        async with open_channel(
            self._join_addr, credentials=credentials, server_name=GATEWAY_NAME
        ) as channel:
            stub = agent_service_pb2_grpc.AgentServiceStub(channel)
            try:
                joined = await stub.Join(request, timeout=_JOIN_S)
            except grpc.aio.AioRpcError as error:
                raise _refused(error) from error
        await self.keep(joined.certificate_pem, authority)
        _log.info("joined", node=node_id, gateway=self._join_addr)


def _refused(error: grpc.aio.AioRpcError) -> GatewayError:
    details = error.details() or ""
    text = f"cannot join: {tls_advice(details) or details or error.code().name}"
    return GatewayError(text, refused=error.code() not in _PASSING)


def _authority(address: str, wanted: bytes) -> str:
    """Return the authority's certificate (PEM) from what a server presents.

    Nothing that is presented is trusted but for the fingerprint `wanted`.

    Raises:
        GatewayError: the server isn't there, speaks no TLS, or is of another fleet.
    """
    try:
        chain = _presented(*host_and_port(address))
    except (OSError, SSL.Error) as error:
        why = "it speaks no TLS there" if isinstance(error, SSL.Error) else str(error)
        raise GatewayError(f"cannot join at {address}: {why}") from error
    for certificate in chain:
        if fingerprint(certificate.public_bytes(Encoding.DER)) == wanted:
            return certificate.public_bytes(Encoding.PEM).decode()
    raise GatewayError(
        f"{address} is not of the fleet that made the join token, or its authority was made anew: "
        "check FOG_JOIN_ADDR, then make another token with `fog nodes token`",
        refused=True,
    )


def _presented(host: str, port: int) -> list[x509.Certificate]:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_alpn_protos([b"h2"])
    until_s = time.monotonic() + _HANDSHAKE_S
    with socket.create_connection((host, port), timeout=_HANDSHAKE_S) as connection:
        connection.setblocking(False)
        tls = SSL.Connection(context, connection)
        tls.set_tlsext_host_name(GATEWAY_NAME.encode())
        tls.set_connect_state()
        while True:
            try:
                tls.do_handshake()
                break
            except SSL.WantReadError:
                left_s = until_s - time.monotonic()
                if left_s <= 0 or not select.select([connection], [], [], left_s)[0]:
                    raise TimeoutError("no answer to the TLS handshake") from None
        return list(tls.get_peer_cert_chain(as_cryptography=True) or ())

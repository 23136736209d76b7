"""The gateway's doors: which certificate each shows, and whose it asks for."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import NoReturn

import grpc
import structlog

from fogbank.domain.errors import FogError, PermissionDeniedError
from fogbank.runtime.certificate_ends import GATEWAY_NAME
from fogbank.runtime.certificates import Authority, Certificate
from fogbank.runtime.grpc_tls import (
    CertificateFiles,
    CertificateSource,
    OwnCertificate,
    server_credentials,
)
from fogbank.runtime.tls import TlsFileError, show_pair
from services.gateway.settings import GatewaySettings

_log = structlog.get_logger(__name__)

# What an agent's certificate opens, besides what is open to all.
_FOR_AGENTS = frozenset({f"/fogbank.v1.AgentService/{name}" for name in ("Connect", "Serve")})
_LOOK_AGAIN_S = 3600.0


class Doors:
    """TLS of the gateway's listeners as its settings have it.

    With an authority (`ca_dir`) users and agents have a door each: people and new agents come to
    one without a certificate, agents that joined to the other with theirs.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        """Read or make what is needed.

        Raises:
            OperatorError: a file can't be used, or the authority didn't sign the certificate.
        """
        self.authority: Authority | None = None
        self.source: CertificateSource | None = None
        if settings.ca_dir is not None:
            self.authority = Authority.of_folder(settings.ca_dir, settings.fleet)
        if settings.tls_cert is not None and settings.tls_key is not None:
            files = CertificateFiles(settings.tls_cert, settings.tls_key)
            if self.authority is not None:
                _check_signed(self.authority, files, settings.tls_cert)
            self.source = files
        elif self.authority is not None:
            hosts = [GATEWAY_NAME, "localhost", "127.0.0.1", "::1", socket.gethostname()]
            self.source = OwnCertificate(self.authority, "gateway", [*hosts, *settings.tls_names])
        self._https = None if self.source is None else _https(self.source)

    @property
    def users(self) -> grpc.ServerCredentials | None:
        """Of the door for users and for agents that want to join; None without TLS."""
        return None if self.source is None else server_credentials(self.source)

    @property
    def agents(self) -> grpc.ServerCredentials | None:
        """Of the door for agents that joined; None without an authority."""
        if self.authority is None or self.source is None:
            return None
        return server_credentials(self.source, self.authority.certificate_pem)

    @property
    def https(self) -> ssl.SSLContext | None:
        """Of the HTTP face; None without TLS."""
        return self._https

    async def keep_fresh(self) -> NoReturn:
        """Have the HTTP face show new certificates too; gRPC asks at each handshake."""
        while True:
            await asyncio.sleep(_LOOK_AGAIN_S)
            if self._https is not None and self.source is not None:
                try:
                    show_pair(self._https, *self.source.current())
                except TlsFileError as error:
                    _log.error("the HTTP face keeps its old certificate", error=str(error))


def agents_only_connect(method: str, certificate: Certificate) -> FogError | None:
    """Return the refusal for an agent that calls what is for users."""
    if method in _FOR_AGENTS:
        return None
    who = certificate.identity.name if certificate.identity else "an unknown certificate"
    return PermissionDeniedError(
        f"{who}: a node's certificate opens AgentService and nothing else; users sign in "
        "at FOG_GRPC_LISTEN",
        reason="NODE_CERTIFICATE",
    )


def _check_signed(authority: Authority, files: CertificateSource, path: Path) -> None:
    _key, chain = files.current()
    if not authority.signed(chain.decode()):
        raise TlsFileError(
            f"{path} is not signed by the authority in FOG_CA_DIR, so agents could not join here: "
            "make one with `fog certificate`, or leave FOG_TLS_CERT out"
        )


def _https(source: CertificateSource) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    show_pair(context, *source.current())
    return context

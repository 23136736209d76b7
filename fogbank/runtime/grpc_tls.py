"""TLS of gRPC servers and channels, and who is at the other end."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio
import structlog

from fogbank.domain.errors import FogError, PermissionDeniedError
from fogbank.runtime.certificate_ends import CertificateError
from fogbank.runtime.certificates import Authority, Certificate
from fogbank.runtime.grpc_channel import CurrentCredentials
from fogbank.runtime.grpc_interceptors import OPEN_METHODS, Continue, Details, Handler, guarded
from fogbank.runtime.settings import FleetSettings
from fogbank.runtime.tls import TlsFileError, show_pair

_log = structlog.get_logger(__name__)

_OWN_LIFE_S = 90 * 24 * 3600


class CertificateSource(Protocol):
    """Where a server's own certificate comes from; it may be another one later."""

    def current(self) -> tuple[bytes, bytes]:
        """Return the private key and the chain of certificates, PEM."""


class CertificateFiles:
    """A certificate and its key in files, read again when they change and belong together."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read the files. TlsFileError if one can't be used."""
        self._paths = (key, certificate)
        self._stamps: tuple[int, ...] = ()
        self._pair = self._read()

    def current(self) -> tuple[bytes, bytes]:
        try:
            stamps = tuple(path.stat().st_mtime_ns for path in self._paths)
            if stamps != self._stamps:
                self._pair = self._read()
        except (OSError, TlsFileError) as error:
            _log.error("a new certificate can't be used, the old one stays", error=str(error))
        return self._pair

    def _read(self) -> tuple[bytes, bytes]:
        key_path, certificate_path = self._paths
        stamps = []
        found = []
        for path in self._paths:
            try:
                stamps.append(path.stat().st_mtime_ns)
                found.append(path.read_bytes())
            except OSError as error:
                raise TlsFileError(f"cannot read {path}: {error.strerror}") from error
        key, certificate = found
        try:
            Certificate.read(certificate.decode(errors="replace"))
        except CertificateError as error:
            raise TlsFileError(f"{certificate_path}: {error}") from error
        if b"PRIVATE KEY" not in key:
            raise TlsFileError(f"{key_path} holds no private key")
        try:
            show_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), key, certificate)
        except TlsFileError as error:
            raise TlsFileError(f"{certificate_path} with {key_path}: {error}") from error
        self._stamps = tuple(stamps)
        return key, certificate


class OwnCertificate:
    """A certificate that a service has its authority sign by itself, anew in good time."""

    def __init__(
        self,
        authority: Authority,
        service: str,
        hosts: Iterable[str],
        *,
        lifetime_s: int = _OWN_LIFE_S,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._authority = authority
        self._service = service
        self._hosts = tuple(hosts)
        self._lifetime_s = lifetime_s
        self._now_s = now_s
        self._renew_at_s = 0.0
        self._pair = (b"", b"")
        # Handshakes ask from threads of gRPC's own.
        self._lock = threading.Lock()

    def current(self) -> tuple[bytes, bytes]:
        with self._lock:
            now_s = self._now_s()
            if now_s >= self._renew_at_s:
                key, chain = self._authority.issue(
                    self._service, self._hosts, self._lifetime_s, now_s
                )
                self._pair = (key.encode(), chain.encode())
                self._renew_at_s = now_s + self._lifetime_s * 2 / 3
            return self._pair


def server_credentials(
    source: CertificateSource, clients_ca: str | None = None
) -> grpc.ServerCredentials:
    """Return credentials that show what the source has at each handshake.

    With `clients_ca`, PEM, clients must show a certificate that it signed.
    """
    roots = clients_ca.encode() if clients_ca is not None else None

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([source.current()], roots)

    return grpc.dynamic_ssl_server_credentials(
        configuration(), configuration, require_client_authentication=roots is not None
    )


class ServiceTls:
    """TLS between services as the settings have it; both are None without."""

    def __init__(self, settings: FleetSettings) -> None:
        """Read the files. TlsFileError if one can't be used."""
        self.source: CertificateSource | None = None
        if settings.tls_cert is not None and settings.tls_key is not None:
            self.source = CertificateFiles(settings.tls_cert, settings.tls_key)
        self._ca = None if settings.tls_ca is None else read_ca(settings.tls_ca)

    @property
    def server(self) -> grpc.ServerCredentials | None:
        """What a service that only others call listens with; they must show certificates too."""
        return None if self.source is None else server_credentials(self.source, self._ca)

    def client(self, source: CertificateSource | None = None) -> CurrentCredentials | None:
        """What a service calls others with, showing its own certificate or that of `source`."""
        return None if self._ca is None else _ClientCredentials(self._ca, source or self.source)


class _ClientCredentials:
    """Credentials of a client that show what the source has now."""

    def __init__(self, ca: str, source: CertificateSource | None) -> None:
        self._ca = ca.encode()
        self._source = source
        self._pair = self._current()
        self._credentials = grpc.ssl_channel_credentials(self._ca, *self._pair)

    def _current(self) -> tuple[bytes, bytes] | tuple[None, None]:
        return (None, None) if self._source is None else self._source.current()

    def __call__(self) -> grpc.ChannelCredentials:
        pair = self._current()
        if pair != self._pair:
            self._pair = pair
            self._credentials = grpc.ssl_channel_credentials(self._ca, *pair)
        return self._credentials


def read_ca(path: Path) -> str:
    """Return the certificates to trust of a file. TlsFileError if it can't be used."""
    try:
        text = path.read_text(encoding="utf-8")
        Certificate.read(text)
    except (OSError, UnicodeDecodeError, CertificateError) as error:
        why = getattr(error, "strerror", None) or error
        raise TlsFileError(f"cannot read certificates to trust from {path}: {why}") from error
    return text


def peer_certificate(context: Any) -> Certificate | None:
    """Return the certificate that a caller showed, already verified; None if it showed none."""
    found = context.auth_context().get("x509_pem_cert")
    return Certificate.read(found[0].decode()) if found else None


Rule = Callable[[str, Certificate], FogError | None]


def refuse_nodes(_method: str, certificate: Certificate) -> FogError | None:
    """Return the refusal for a node that calls a service behind the gateway."""
    identity = certificate.identity
    if identity is None or identity.kind != "node":
        return None
    return PermissionDeniedError(
        f"node {identity.name} may call the gateway's AgentService only", reason="NODE_CERTIFICATE"
    )


class CertificateRule(grpc.aio.ServerInterceptor):
    """Asks a rule what a caller that showed a certificate may call; health is open to all."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    async def intercept_service(self, continuation: Continue, details: Details) -> Handler | None:
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN_METHODS):
            return handler

        async def admit(context: Any) -> None:
            certificate = peer_certificate(context)
            error = None if certificate is None else self._rule(details.method, certificate)
            if error is not None:
                raise error

        return guarded(handler, admit)

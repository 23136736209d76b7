"""Certificates for nodes, and the secrets of their tokens."""

from __future__ import annotations

from fogbank.domain.errors import InvalidArgumentError
from fogbank.runtime.certificate_ends import CertificateError
from fogbank.runtime.certificates import (
    Authority,
    Certificate,
    key_digest_of_request,
)
from fogbank.runtime.clock import Clock
from services.gateway.adapters.sealing import Seal
from services.gateway.core.agent_messages import NodeCertificate

_US_PER_S = 1_000_000


class FleetAuthority:
    """A `NodeAuthority` with its key in this process."""

    def __init__(self, authority: Authority, lifetime_s: int, clock: Clock) -> None:
        self._authority = authority
        self._lifetime_s = lifetime_s
        self._clock = clock

    @property
    def fingerprint(self) -> bytes:
        return self._authority.fingerprint

    def key_digest(self, request_der: bytes) -> bytes:
        try:
            return key_digest_of_request(request_der)
        except CertificateError as error:
            raise InvalidArgumentError.of_field("certificate_request", str(error)) from error

    def sign(self, node_id: str, request_der: bytes) -> NodeCertificate:
        now_s = self._clock.now_us() / _US_PER_S
        try:
            signed = self._authority.sign_node(request_der, node_id, self._lifetime_s, now_s)
        except CertificateError as error:
            raise InvalidArgumentError.of_field("certificate_request", str(error)) from error
        ends_at_us = round(Certificate.read(signed).ends_at_s * _US_PER_S)
        return NodeCertificate(signed, self._authority.certificate_pem, ends_at_us)


class SealedTokenSecrets:
    """`TokenSecrets` that follow from the sealing key, so that they are kept nowhere."""

    def __init__(self, sealing_key: str) -> None:
        self._seal = Seal(sealing_key, "join token")

    def secret(self, token_id: str) -> bytes:
        return bytes.fromhex(self._seal.name(token_id.encode()))

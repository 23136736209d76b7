"""Certificates: a fleet's own authority, what it signs, and who a certificate speaks for.

Keys are on the curve P-256. A certificate names whom it speaks for in a URI of its own,
`spiffe://fogbank/<fleet>/node/<id>` or `spiffe://fogbank/<fleet>/service/<name>`; nodes' can't
serve, and no name of a host is in them.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Self
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fogbank.runtime.certificate_ends import CertificateError
from fogbank.runtime.private_files import make_once

_TRUST_DOMAIN = "spiffe://fogbank/"
_AUTHORITY_LIFE = dt.timedelta(days=20 * 365)
# Clocks of hosts may be behind by as much.
_CLOCK_TOLERANCE = dt.timedelta(hours=1)
_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER

Kind = Literal["node", "service"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a certificate speaks for: a node by its id, or a service by its name."""

    fleet: str
    kind: Kind
    name: str

    @property
    def uri(self) -> str:
        """The identity as certificates have it."""
        return f"{_TRUST_DOMAIN}{self.fleet}/{self.kind}/{self.name}"

    @classmethod
    def parse(cls, uri: str) -> Self | None:
        """Return what a URI says; None if it is none of ours."""
        fleet, _, rest = uri.removeprefix(_TRUST_DOMAIN).partition("/")
        kind, _, name = rest.partition("/")
        if not uri.startswith(_TRUST_DOMAIN) or not fleet or not name:
            return None
        if kind == "node":
            return cls(fleet, "node", name)
        return cls(fleet, "service", name) if kind == "service" else None


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says; spans in seconds since 1970."""

    identity: Identity | None
    key_digest: bytes
    begins_at_s: float
    ends_at_s: float

    @classmethod
    def read(cls, pem: str) -> Self:
        """Read the first certificate of a text. CertificateError if there is none."""
        try:
            found = x509.load_pem_x509_certificate(pem.encode())
            uris = _uris(found)
        except ValueError as error:
            raise CertificateError(f"this is no certificate: {error}") from error
        identities = [each for uri in uris if (each := Identity.parse(uri)) is not None]
        return cls(
            identities[0] if len(identities) == 1 else None,
            _key_digest(found.public_key().public_bytes(_DER, _SPKI)),
            found.not_valid_before_utc.timestamp(),
            found.not_valid_after_utc.timestamp(),
        )


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(x509.UniformResourceIdentifier)


_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


def _key_digest(public_key: bytes) -> bytes:
    return sha256(public_key).digest()


def fingerprint(certificate_der: bytes) -> bytes:
    """Return the SHA-256 by which a certificate is pinned."""
    return sha256(certificate_der).digest()


def make_key() -> str:
    """Return a new private key, PEM."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def make_request(key_pem: str, name: str) -> bytes:
    """Return a request for a certificate (PKCS#10, DER), signed with the key.

    Raises:
        CertificateError: the key can't be read.
    """
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(_private_key(key_pem), hashes.SHA256()).public_bytes(_DER)


def key_digest_of_request(request_der: bytes) -> bytes:
    """Return the SHA-256 of the public key that a request was signed with.

    Raises:
        CertificateError: it is no such request, or its key is of another kind.
    """
    return _key_digest(_requested_key(request_der).public_bytes(_DER, _SPKI))


def _requested_key(request_der: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_der_x509_csr(request_der)
        signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CertificateError(f"no request for a certificate: {error}") from error
    if not signed:
        raise CertificateError("the request is not signed with its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError("the key must be on the curve P-256")
    return key


def _private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"the key can't be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the key must be on the curve P-256")
    return key


class Authority:
    """Signs certificates of one fleet. Whoever has its key can speak for every node and service."""

    def __init__(self, fleet: str, pem: str) -> None:
        """Use a key and its certificate, in one text.

        Raises:
            CertificateError: they can't be read, or don't belong together.
        """
        self._fleet = fleet
        self._key = _private_key(pem)
        try:
            self._certificate = x509.load_pem_x509_certificate(pem.encode())
        except ValueError as error:
            raise CertificateError(f"no certificate of an authority: {error}") from error
        if self._certificate.public_key() != self._key.public_key():
            raise CertificateError("key and certificate of the authority don't belong together")

    @classmethod
    def of_folder(cls, folder: Path, fleet: str) -> Self:
        """Return the authority of a folder, made if there is none.

        `authority.pem` holds key and certificate, `ca.crt` a copy of the certificate for others.

        Raises:
            CertificateError: the folder can't be used.
        """
        path = folder / "authority.pem"
        try:
            if not path.exists():
                make_once(path, _fresh_authority(fleet))
            found = cls(fleet, path.read_text(encoding="utf-8"))
            copy = folder / "ca.crt"
            if not copy.exists():
                make_once(copy, found.certificate_pem)
                copy.chmod(0o644)
        except (OSError, CertificateError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise CertificateError(f"{path}: {why}") from error
        return found

    @property
    def certificate_pem(self) -> str:
        """The certificate to trust."""
        return self._certificate.public_bytes(_PEM).decode()

    @property
    def fingerprint(self) -> bytes:
        """The SHA-256 of that certificate."""
        return fingerprint(self._certificate.public_bytes(_DER))

    def signed(self, certificate_pem: str) -> bool:
        """Tell whether the first certificate of a text was signed here."""
        try:
            x509.load_pem_x509_certificate(certificate_pem.encode()).verify_directly_issued_by(
                self._certificate
            )
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def sign_node(self, request_der: bytes, node_id: str, lifetime_s: int, now_s: float) -> str:
        """Return a certificate for a node's key, PEM; what else the request says is left out.

        Raises:
            CertificateError: the request is no good.
        """
        identity = Identity(self._fleet, "node", str(UUID(node_id)))
        return self._sign(
            _requested_key(request_der),
            identity,
            [],
            [ExtendedKeyUsageOID.CLIENT_AUTH],
            dt.timedelta(seconds=lifetime_s),
            now_s,
        )

    def issue(
        self, service: str, hosts: Iterable[str], lifetime_s: int, now_s: float
    ) -> tuple[str, str]:
        """Return a new key and its certificate for a service, with the authority's; both PEM.

        `hosts` are names and addresses under which it is called.
        """
        key = _private_key(key_pem := make_key())
        certificate = self._sign(
            key.public_key(),
            Identity(self._fleet, "service", service),
            [_general_name(host) for host in dict.fromkeys(hosts)],
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
            dt.timedelta(seconds=lifetime_s),
            now_s,
        )
        return key_pem, certificate + self.certificate_pem

    def _sign(  # noqa: PLR0917  all that a certificate says
        self,
        key: ec.EllipticCurvePublicKey,
        identity: Identity,
        hosts: list[x509.GeneralName],
        usages: list[x509.ObjectIdentifier],
        lifetime: dt.timedelta,
        now_s: float,
    ) -> str:
        now = dt.datetime.fromtimestamp(now_s, dt.UTC)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri), *hosts]
        own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        signed = (
            x509.CertificateBuilder()
            .subject_name(_name(f"{identity.kind} {identity.name}"[:64]))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_TOLERANCE)
            .not_valid_after(min(now + lifetime, self._certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return signed.public_bytes(_PEM).decode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _fresh_authority(fleet: str) -> str:
    key_pem = make_key()
    key = _private_key(key_pem)
    now = dt.datetime.now(dt.UTC)
    subject = _name(f"Fogbank fleet {fleet}"[:64])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_TOLERANCE)
        .not_valid_after(now + _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key_pem + certificate.public_bytes(_PEM).decode()

"""TLS of a local system: its own authority, and what it signs for the services at each start."""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fogbank.local.data_dir import DataDir
from fogbank.local.ports import HOST
from fogbank.runtime.certificate_ends import CertificateError
from fogbank.runtime.certificates import Authority, Certificate
from fogbank.runtime.private_files import write_private

# Those that are called by other services only; a gateway signs for itself.
_INWARD = ("scheduler", "ledger")
_LIFE_S = 365 * 24 * 3600
# A node whose certificate ends so soon may find it ended at its next call.
_ENDS_SOON_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class LocalTls:
    """The authority's folder and the services' certificates, under the data directory."""

    data: DataDir

    def ensure(self, fleet: str) -> None:
        """Make the authority unless there is one, and certificates for the services.

        Raises:
            CertificateError: the authority's folder can't be used.
        """
        authority = Authority.of_folder(self.data.ca, fleet)
        for service in _INWARD:
            key, chain = authority.issue(service, [HOST, "localhost"], _LIFE_S, time.time())
            write_private(self._key(service), key)
            write_private(self._certificate(service), chain)

    @property
    def trusted(self) -> Path:
        """File of the authority's certificate, for everybody."""
        return self.data.ca / "ca.crt"

    def service(self, service: str) -> Mapping[str, str]:
        """Return the settings with which a service speaks TLS to the others."""
        settings = {"FOG_TLS_CA": str(self.trusted)}
        if service == "gateway":
            return settings | {"FOG_CA_DIR": str(self.data.ca)}
        return settings | {
            "FOG_TLS_CERT": str(self._certificate(service)),
            "FOG_TLS_KEY": str(self._key(service)),
        }

    def shown_by(self, service: str) -> tuple[bytes, bytes, bytes]:
        """Return what a service trusts, its key and its chain of certificates, PEM."""
        files = (self.trusted, self._key(service), self._certificate(service))
        trusted, key, chain = (path.read_bytes() for path in files)
        return trusted, key, chain

    def client(self) -> ssl.SSLContext:
        """Return how to call the REST face."""
        return ssl.create_default_context(cafile=str(self.trusted))

    def without_certificate(self, folders: Mapping[str, Path]) -> list[str]:
        """Return which of the nodes with these folders have to join before they connect."""
        return [name for name, folder in folders.items() if _must_join(folder / "node.crt")]

    def _certificate(self, service: str) -> Path:
        return self.data.ca / f"{service}.crt"

    def _key(self, service: str) -> Path:
        return self.data.ca / f"{service}.key"


def _must_join(certificate: Path) -> bool:
    try:
        found = Certificate.read(certificate.read_text(encoding="utf-8"))
    except (OSError, CertificateError):
        return True
    return found.ends_at_s <= time.time() + _ENDS_SOON_S

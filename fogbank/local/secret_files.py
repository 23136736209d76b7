"""Secrets of a local system: made at its first start, kept in files for their owner alone."""

import base64
import secrets
from dataclasses import dataclass
from pathlib import Path

from fogbank.log.broker_config import BROKER_USERS
from fogbank.runtime.private_files import write_private

_BYTES = 32
_PASSWORD_BYTES = 15


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """One file for each secret, all in one folder."""

    folder: Path

    @property
    def jwt_secret(self) -> Path:
        """Signs users' tokens."""
        return self.folder / "jwt_secret"

    @property
    def sealing_key(self) -> Path:
        """Seals environment values; 32 bytes in base64."""
        return self.folder / "sealing_key"

    @property
    def checkpoint_key(self) -> Path:
        """Signs checkpoints of the log; the ledger makes it."""
        return self.folder / "checkpoint_key"

    @property
    def agent_token(self) -> Path:
        """With which node agents call the gateway."""
        return self.folder / "agent_token"

    @property
    def join_token(self) -> Path:
        """With which nodes get their certificates, in a system that speaks TLS."""
        return self.folder / "join_token"

    @property
    def service_token(self) -> Path:
        """With which services call each other."""
        return self.folder / "service_token"

    @property
    def admin_password(self) -> Path:
        """The first user's password."""
        return self.folder / "admin_password"

    def nats_password(self, user: str) -> Path:
        """With which a user of the broker signs in."""
        return self.folder / f"nats_{user}_password"

    def nats_passwords(self) -> dict[str, str]:
        """Return the password of each user of the broker."""
        return {user: read_secret(self.nats_password(user)) for user in BROKER_USERS}

    @property
    def postgres_password(self) -> Path:
        """With which services call the database."""
        return self.folder / "postgres_password"

    def ensure(self) -> None:
        """Make those that are missing; never change one that is there."""
        for path in (
            self.admin_password,
            self.postgres_password,
            *(self.nats_password(user) for user in BROKER_USERS),
        ):
            _ensure(path, secrets.token_hex(_PASSWORD_BYTES))
        for path in (self.jwt_secret, self.agent_token, self.service_token):
            _ensure(path, secrets.token_urlsafe(_BYTES))
        _ensure(self.sealing_key, base64.b64encode(secrets.token_bytes(_BYTES)).decode())


def read_secret(path: Path) -> str:
    """Return the secret in the file, without the line's end."""
    return path.read_text(encoding="utf-8").strip()


def _ensure(path: Path, fresh: str) -> None:
    if not path.exists():
        write_private(path, fresh + "\n")

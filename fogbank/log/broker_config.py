"""The broker's configuration, rendered from the one template that every deployment uses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from fogbank.log.stream import StreamName

OPERATOR = "operator"
# A user of the broker each. The operator may do everything, the others what their service needs.
BROKER_USERS = (OPERATOR, "gateway", "scheduler", "ledger", "checker")

TEMPLATE = Path(__file__).with_name("nats-server.conf.template")

_PASSWORD = re.compile(r"[A-Za-z0-9_-]{16,256}")
# Inside the configuration's double quotes a backslash or a quote would mean something.
_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')


class _AtTemplate(Template):
    """With `@{name}`: the configuration is full of dollars."""

    delimiter = "@"


class BrokerConfigError(ValueError):
    """Something can't stand in the broker's configuration; says what."""


@dataclass(frozen=True, slots=True)
class BrokerTls:
    """The broker's certificate and key, and whose certificates clients must have (None: any)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def lines(self) -> str:
        """Return the `tls` block."""
        client_ca = (
            f'\n  ca_file: "{_plain(str(self.client_ca))}"\n  verify: true'
            if self.client_ca
            else ""
        )
        return (
            f'\ntls {{\n  cert_file: "{_plain(str(self.certificate))}"\n'
            f'  key_file: "{_plain(str(self.key))}"{client_ca}\n  timeout: 5\n}}\n'
        )


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """What differs from one broker to the next. `listen` and `monitor_listen` are host:port."""

    name: StreamName
    listen: str
    monitor_listen: str
    store_dir: str
    passwords: Mapping[str, str] = field(repr=False)
    server_name: str = "fogbank"
    tls: BrokerTls | None = None

    def render(self) -> str:
        """Return the configuration's text, which holds the passwords.

        Raises:
            BrokerConfigError: a password is missing, short or has other characters than letters,
                digits, `-` and `_`; or a path or an address can't be written in quotes.
        """
        return _AtTemplate(TEMPLATE.read_text(encoding="utf-8")).substitute(
            server_name=_plain(self.server_name),
            listen=_plain(self.listen),
            monitor_listen=_plain(self.monitor_listen),
            store_dir=_plain(self.store_dir),
            tls=self.tls.lines() if self.tls else "",
            fleet=self.name.fleet,
            generation=self.name.generation,
            stream=self.name.stream,
            **{f"{user}_password": self._password(user) for user in BROKER_USERS},
        )

    def _password(self, user: str) -> str:
        password = self.passwords.get(user, "")
        if not _PASSWORD.fullmatch(password):
            raise BrokerConfigError(
                f"the broker's user {user} needs a password of 16 to 256 letters, digits, '-' or "
                "'_'"
            )
        return password


def _plain(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise BrokerConfigError(f"{text!r} can't stand in the broker's configuration")
    return text

"""Settings from the environment, read once at start and never changed.

Every name begins with FOG_. A setting may also be given as a file's content: FOG_X_FILE names the
file, which is how secrets should come. A bad setting ends the process with one line per problem
and exit code 64, before anything is opened.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "FOG_"
EXIT_USAGE = 64

T = TypeVar("T", bound=BaseSettings)

_NAME = r"[A-Za-z0-9_-]{1,128}"
_LARGEST_PORT = 65_535


def host_and_port(address: str) -> tuple[str, int]:
    """Split `host:port` (IPv6 hosts in brackets; an empty host means all interfaces).

    Raises:
        ValueError: it isn't of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise ValueError(f"{address!r} is not host:port with a port from 0 to {_LARGEST_PORT}")
    return host.strip("[]"), int(port)


def separated(value: Any) -> Any:
    """Read `a,b,c` as a tuple; anything but text is left as it is."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _checked_address(address: str) -> str:
    host_and_port(address)
    return address


# `host:port` where something listens; port 0 takes a free one.
ListenAddress = Annotated[str, AfterValidator(_checked_address)]


class _FileSource(PydanticBaseSettingsSource):
    """Reads FOG_X from the file that FOG_X_FILE names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        for name in _environment_names(field, field_name):
            path = os.environ.get(f"{name}_FILE")
            if not path:
                continue
            if name in os.environ:
                raise SettingsError(f"{name} and {name}_FILE are both set; keep one")
            try:
                return (
                    Path(path).read_text(encoding="utf-8").strip(),
                    _key(field, field_name),
                    False,
                )
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8 text"
                raise SettingsError(f"{name}_FILE: cannot read {path}: {reason}") from None
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, field_name)
            if value is not None:
                found[key] = value
        return found


def _environment_names(field: FieldInfo, field_name: str) -> list[str]:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str)]
    return [alias] if isinstance(alias, str) else [f"{PREFIX}{field_name.upper()}"]


def _key(field: FieldInfo, field_name: str) -> str:
    names = _environment_names(field, field_name)
    return names[0] if field.validation_alias is not None else field_name


class SettingsError(Exception):
    """A setting that pydantic never gets to see is wrong; the message names it."""


class Settings(BaseSettings):
    """What every process has. A service derives its own from this and names itself.

    `instance` tells this process from others of its service, and may stand in a subject of the
    log; by default it is made of the service, the host and the process id.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", validate_default=True
    )

    service: ClassVar[str] = "fogbank"

    instance: str = ""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text", "auto"] = "auto"
    metrics_listen: ListenAddress | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: dict[str, Any]) -> dict[str, Any]:
        if not values.get("instance"):
            values = values | {"instance": _default_instance(cls.service)}
        if isinstance(level := values.get("log_level"), str):
            values = values | {"log_level": level.upper()}
        return values

    @model_validator(mode="after")
    def _check_instance(self) -> Self:
        if not re.fullmatch(_NAME, self.instance):
            raise ValueError("FOG_INSTANCE may hold 1 to 128 letters, digits, '-' and '_'")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (no .env files)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (FOG_X_FILE instead)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _FileSource(settings_cls)


class FleetSettings(Settings):
    """What the services around the log have: where the broker is, which fleet, who may call.

    `nats_tls_ca`: whose certificates of brokers to trust; with it every connection is encrypted.
    `nats_tls_cert` and `nats_tls_key`: shown to a broker that demands a certificate.
    `tls_cert` and `tls_key`: with them the service's own listeners speak TLS.
    `tls_ca`: whose certificates of other services to trust; with it they are called over TLS.
    """

    nats_url: str = "nats://127.0.0.1:4222"
    nats_monitor_url: str = "http://127.0.0.1:8222"
    nats_user: str | None = None
    nats_password: SecretStr | None = None
    nats_credentials: Path | None = None
    nats_tls_ca: Path | None = None
    nats_tls_cert: Path | None = None
    nats_tls_key: Path | None = None
    fleet: str = Field(default="default", pattern=f"^{_NAME}$")
    generation: int = Field(default=1, ge=1)
    log_max_bytes: int = Field(default=4 * 1024**3, ge=1024**2)
    log_replicas: int = Field(default=1, ge=1, le=5)
    service_token: SecretStr | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None

    @model_validator(mode="after")
    def _check_certificate(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("FOG_TLS_CERT and FOG_TLS_KEY belong together")
        return self

    @model_validator(mode="after")
    def _check_nats_certificate(self) -> Self:
        if (self.nats_tls_cert is None) != (self.nats_tls_key is None):
            raise ValueError("FOG_NATS_TLS_CERT and FOG_NATS_TLS_KEY belong together")
        return self


class DatabaseSettings(FleetSettings):
    """What the services with a database have.

    With `database_tls_ca`, a file of certificates, connections to the database are encrypted and
    its certificate must be signed by one of those and bear its name.
    """

    database_url: SecretStr = Field(
        default=SecretStr("postgresql+asyncpg://postgres@127.0.0.1:5432/postgres"),
        validation_alias=AliasChoices("FOG_DATABASE_URL", "DATABASE_URL", "database_url"),
    )
    database_tls_ca: Path | None = None


def load(kind: type[T], **overrides: Any) -> T:
    """Return the settings that the environment gives; a bad one ends the process (exit code 64)."""
    try:
        return kind(**overrides)
    except SettingsError as error:
        _give_up([str(error)])
    except ValidationError as error:
        _give_up(
            [
                f"{_name_of(kind, problem['loc'])}{problem['msg'].removeprefix('Value error, ')}"
                for problem in error.errors(include_input=False, include_url=False)
            ]
        )


def _name_of(kind: type[BaseSettings], location: tuple[int | str, ...]) -> str:
    if not location:
        return ""
    first = str(location[0])
    name = f"{PREFIX}{first.upper()}" if first in kind.model_fields else first
    return f"{name}: "


def _give_up(problems: list[str]) -> NoReturn:
    for problem in problems:
        sys.stderr.write(f"bad setting: {problem}\n")
    sys.exit(EXIT_USAGE)


def _default_instance(service: str) -> str:
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:64] or "host"
    return f"{service}-{host}-{os.getpid()}"

"""Settings from the environment, read once at start and never changed.

Every name begins with FOG_. A setting may also be given as a file's content: FOG_X_FILE names the
file, which is how secrets should come. White space around a value does not count, and an empty one
is none at all: files of compose and units pass on what nobody has set. A bad setting ends the
process with one line per problem and exit code 64, before anything is opened.

A class of settings is a frozen `msgspec.Struct`: annotations say what a value has to be, and
`__post_init__` checks what concerns several.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self, TypeVar

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import FieldInfo, fields, force_setattr

PREFIX = "FOG_"
EXIT_USAGE = 64

_NAME = r"[A-Za-z0-9_-]{1,128}"
_LARGEST_PORT = 65_535
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


@dataclass(frozen=True, slots=True)
class Read:
    """In an annotation: makes of a setting's text what is then checked; ValueError if it can't."""

    function: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Also:
    """In an annotation: another name of a setting, which counts when its own is not set."""

    name: str


class Secret:
    """A text that is shown to nobody by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hide the text."""
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        """Return no more than whether there is one."""
        return "Secret(***)" if self._text else "Secret()"


def host_and_port(address: str) -> tuple[str, int]:
    """Split `host:port` (IPv6 hosts in brackets; an empty host means all interfaces).

    Raises:
        ValueError: it isn't of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise ValueError(f"{address!r} is not host:port with a port from 0 to {_LARGEST_PORT}")
    return host.strip("[]"), int(port)


def separated(text: str) -> tuple[str, ...]:
    """Read `a,b,c`."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _truth(text: str) -> bool:
    """Read `true`, `off` and the like."""
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return word in _TRUE


class ListenAddress(str):
    """`host:port` where something listens; port 0 takes a free one."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the text. ValueError if it isn't of that form."""
        host_and_port(text)
        return super().__new__(cls, text)


class Settings(Struct, frozen=True):
    """What every process has. A service derives its own from this and names itself.

    `instance` tells this process from others of its service, and may stand in a subject of the
    log; by default it is made of the service, the host and the process id.
    """

    service: ClassVar[str] = "fogbank"

    instance: str = ""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Read(str.upper)] = "INFO"
    log_format: Literal["json", "text", "auto"] = "auto"
    metrics_listen: ListenAddress | None = None

    def __post_init__(self) -> None:
        """Fill in what depends on the process. ValueError if settings don't go together."""
        if not self.instance:
            force_setattr(self, "instance", _default_instance(self.service))
        if not re.fullmatch(_NAME, self.instance):
            raise ValueError("FOG_INSTANCE may hold 1 to 128 letters, digits, '-' and '_'")


class FleetSettings(Settings, frozen=True):
    """What the services around the log have: where the broker is, which fleet, who may call.

    `nats_tls_ca`: whose certificates of brokers to trust; with it every connection is encrypted.
    `nats_tls_cert` and `nats_tls_key`: shown to a broker that demands a certificate.
    `tls_cert` and `tls_key`: with them the service's own listeners speak TLS.
    `tls_ca`: whose certificates of other services to trust; with it they are called over TLS.
    """

    nats_url: str = "nats://127.0.0.1:4222"
    nats_monitor_url: str = "http://127.0.0.1:8222"
    nats_user: str | None = None
    nats_password: Secret | None = None
    nats_credentials: Path | None = None
    nats_tls_ca: Path | None = None
    nats_tls_cert: Path | None = None
    nats_tls_key: Path | None = None
    fleet: Annotated[str, Meta(pattern=rf"^{_NAME}\Z")] = "default"
    generation: Annotated[int, Meta(ge=1)] = 1
    log_max_bytes: Annotated[int, Meta(ge=1024**2)] = 4 * 1024**3
    log_replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    service_token: Secret | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("FOG_TLS_CERT and FOG_TLS_KEY belong together")
        if (self.nats_tls_cert is None) != (self.nats_tls_key is None):
            raise ValueError("FOG_NATS_TLS_CERT and FOG_NATS_TLS_KEY belong together")


class DatabaseSettings(FleetSettings, frozen=True):
    """What the services with a database have.

    With `database_tls_ca`, a file of certificates, connections to the database are encrypted and
    its certificate must be signed by one of those and bear its name.
    """

    database_url: Annotated[Secret, Also("DATABASE_URL")] = Secret(
        "postgresql+asyncpg://postgres@127.0.0.1:5432/postgres"
    )
    database_tls_ca: Path | None = None


T = TypeVar("T", bound=Settings)


def load(kind: type[T]) -> T:
    """Return the settings that the environment gives; a bad one ends the process (exit code 64)."""
    found: dict[str, Any] = {}
    problems = []
    for field in fields(kind):
        try:
            found |= _setting(field)
        except _BadSettingError as error:
            problems.append(str(error))
    if problems:
        _give_up(problems)
    try:
        return kind(**found)
    except ValueError as error:
        _give_up([str(error)])


class _BadSettingError(Exception):
    """The message names it."""


def variables(field: FieldInfo) -> list[str]:
    """Return the names of a setting in the environment, the one that wins first."""
    return [f"{PREFIX}{field.name.upper()}", *(also.name for also in _notes(field, Also))]


N = TypeVar("N", Read, Also)


def _notes(field: FieldInfo, kind: type[N]) -> Iterator[N]:
    """Yield what stands in the annotation of a field, of one kind."""
    return (note for note in getattr(field.type, "__metadata__", ()) if isinstance(note, kind))


def _setting(field: FieldInfo) -> dict[str, Any]:
    """Return a setting under its field's name; nothing if the environment doesn't give it."""
    for name in variables(field):
        if (text := _text(name)) is not None:
            try:
                return {field.name: _value(field, text)}
            except ValueError as error:
                raise _BadSettingError(f"{name}: {_complaint(error, text)}") from None
    return {}


def environment(name: str) -> str | None:
    """Return what a variable says; None for nothing but white space, as for one that isn't set."""
    return os.environ.get(name, "").strip() or None


def _text(name: str) -> str | None:
    """Return what a variable says, or the file that NAME_FILE names."""
    text, path = environment(name), environment(f"{name}_FILE")
    if path is None:
        return text
    if text is not None:
        raise _BadSettingError(f"{name} and {name}_FILE are both set; keep one")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise _BadSettingError(f"{name}_FILE: cannot read {path}: {reason}") from None


def _value(field: FieldInfo, text: str) -> Any:
    """Return what a text means. ValueError if that isn't what the setting has to be."""
    if field.type is bool:
        return _truth(text)
    value: Any = text
    for read in _notes(field, Read):
        value = read.function(value)
    return convert(value, field.type, strict=False, dec_hook=_made)


def _made(kind: type, value: Any) -> Any:
    """Make what msgspec doesn't know: paths, networks, secrets, addresses."""
    return kind(value)


def _complaint(error: ValueError, text: str) -> str:
    """Return what is wrong with a text, and where in it if it is a document."""
    if not isinstance(error, ValidationError):
        return str(error)
    what, _, place = str(error).partition(" - at `$")
    where = re.sub(r"[\[\].`]+", ".", place).strip(".")
    return f"{where}: {what}" if where else what.replace("got `str`", f"got {text!r}")


def _give_up(problems: list[str]) -> NoReturn:
    for problem in problems:
        sys.stderr.write(f"bad setting: {problem}\n")
    sys.exit(EXIT_USAGE)


def _default_instance(service: str) -> str:
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:64] or "host"
    return f"{service}-{host}-{os.getpid()}"

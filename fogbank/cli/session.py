"""Where the server is and who we are to it.

In this order: FOG_ADDR and FOG_TOKEN; what `fog login` stored; the system that `fog up` runs on a
data directory.
"""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fogbank.cli.failures import CommandError
from fogbank.local.data_dir import DEFAULT_NAME, DataDir, read_json, write_json
from fogbank.local.state import LocalState, read_state

DEFAULT_ADDRESS = "127.0.0.1:50051"
# A token is traded for a new one this long before it ends.
_MARGIN_S = 60


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login gave; `ends_at` in seconds since 1970."""

    access: str
    refresh: str
    ends_at: float

    @property
    def is_fresh(self) -> bool:
        """Whether the access token lasts for a while yet."""
        return time.time() < self.ends_at - _MARGIN_S


@dataclass(frozen=True, slots=True)
class Session:
    """A server, and how to prove who we are."""

    address: str
    source: str  # where the address came from, for people
    token: str | None = None  # given as it is
    tokens: Tokens | None = None  # stored, to be refreshed
    store: Path | None = None  # where refreshed tokens go
    user: str = ""
    password: str = ""  # of a local system's first user
    ca: str = ""  # file of certificates to trust, or `system`; empty for no TLS


def config_file() -> Path:
    """Return where `fog login` stores tokens."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "fogbank" / "config.json"


def local_data_dir() -> DataDir:
    """Return the data directory that commands look into: FOG_DATA_DIR, else ./.fogbank."""
    return DataDir(Path(os.environ.get("FOG_DATA_DIR") or DEFAULT_NAME).absolute())


def find_session() -> Session:
    """Return the server to call and how to sign in there.

    Raises:
        CommandError: nothing says how to sign in.
    """
    address = os.environ.get("FOG_ADDR", "")
    if token := os.environ.get("FOG_TOKEN"):
        where, source = _address(address)
        return Session(where, source, token=token, ca=find_ca(where))
    stored = stored_session()
    if stored is not None and address in {"", stored.address}:
        return stored
    local = read_state(local_data_dir())
    if local is not None and address in {"", local.grpc}:
        return _local_session(local)
    if not address:
        raise CommandError(
            "there is no system to talk to",
            hint="start one here with `fog up`, or say where one is with `fog login --addr "
            "HOST:PORT`",
        )
    raise CommandError(
        f"not signed in at {address}", hint="run `fog login`, or give a token in FOG_TOKEN"
    )


def stored_session() -> Session | None:
    """Return what `fog login` stored; None if it stored nothing, or something else did."""
    config = read_json(config_file())
    if not isinstance(config, dict) or "address" not in config:
        return None
    return Session(
        address=str(config["address"]),
        source=str(config_file()),
        tokens=_tokens(config),
        store=config_file(),
        user=str(config.get("user", "")),
        ca=find_ca(str(config["address"])),
    )


@contextmanager
def locked(store: Path) -> Generator[None]:
    """Let no other command read and write stored tokens meanwhile; waits for one that does.

    A refresh token works once: two commands that show the same one end the session.
    """
    store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with store.with_name(f"{store.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stored_now(session: Session) -> Session | None:
    """Return a session as it is stored by now; None if it has ended or gave way to another."""
    if session.store is None:
        return session
    if session.store != config_file():
        return replace(session, tokens=_tokens(read_json(session.store)))
    now = stored_session()
    same = now is not None and (now.address, now.user) == (session.address, session.user)
    return now if same else None


def _address(given: str) -> tuple[str, str]:
    if given:
        return given, "FOG_ADDR"
    config = read_json(config_file())
    if isinstance(config, dict) and config.get("address"):
        return str(config["address"]), str(config_file())
    local = read_state(local_data_dir())
    if local is not None:
        return local.grpc, str(local_data_dir().state_file)
    return DEFAULT_ADDRESS, "the default"


def find_address(given: str | None) -> tuple[str, str]:
    """Return the server's address and where it came from; needs no sign-in."""
    if given:
        return given, "--addr"
    return _address(os.environ.get("FOG_ADDR", ""))


def _local_session(local: LocalState) -> Session:
    data = DataDir(Path(local.data_dir))
    return Session(
        address=local.grpc,
        source=str(data.state_file),
        tokens=_tokens(read_json(data.session_file)),
        store=data.session_file,
        user=local.admin_user,
        password=local.admin_password,
        ca=find_ca(local.grpc),
    )


def find_ca(address: str, given: str = "") -> str:
    """Return whose certificates to trust at an address: a file, or `system`; empty for no TLS.

    What is given counts, then FOG_CA, then what `fog login` or `fog up` keeps of that address.
    """
    if named := given or os.environ.get("FOG_CA", ""):
        return named
    config = read_json(config_file())
    if isinstance(config, dict) and config.get("address") == address:
        return str(config.get("ca", ""))
    local = read_state(local_data_dir())
    return local.ca if local is not None and local.grpc == address else ""


def full_path(ca: str) -> str:
    """Return a file of certificates as later commands, in other folders, find it."""
    return ca if ca in {"", "system"} else str(Path(ca).expanduser().absolute())


def _tokens(content: Any) -> Tokens | None:
    try:
        return Tokens(
            access=str(content["access_token"]),
            refresh=str(content["refresh_token"]),
            ends_at=float(content["ends_at"]),
        )
    except (TypeError, KeyError, ValueError):
        return None


def store_tokens(path: Path, address: str, user: str, tokens: Tokens, ca: str = "") -> None:
    """Keep tokens for the next command, readable by their owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(
        path,
        {
            "address": address,
            "user": user,
            "access_token": tokens.access,
            "refresh_token": tokens.refresh,
            "ends_at": round(tokens.ends_at, 3),
        }
        | ({"ca": ca} if ca else {}),
    )

"""Credentials for registries, from a file in the form of Docker's `config.json`.

The form is at https://docs.docker.com/reference/cli/docker/login/; of it `auths` is used. Helper
programs (`credsStore`, `credHelpers`) are not: an agent runs no program of others.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.node_agent.app.ports import RuntimeFaultError

DOCKER_HUB = "docker.io"
# How Docker's own tools name it.
_HUB_NAMES = {"index.docker.io", "registry-1.docker.io", DOCKER_HUB}


@dataclass(frozen=True, slots=True)
class Login:
    """What a registry is shown; never log it."""

    auth: Mapping[str, str] = field(repr=False)


def full_name(image: str) -> str:
    """Return an image's name with its registry, as in `docker.io/library/nginx:1`."""
    host, slash, _ = image.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return image
    return f"{DOCKER_HUB}/{image if slash else f'library/{image}'}"


def login_for(image: str, path: Path | None) -> Login | None:
    """Return the credentials for an image, of the longest entry that fits; None if there are none.

    The file is read anew each time: who renews a token there need not restart the agent.

    Raises:
        RuntimeFaultError: the file can't be read.
    """
    if path is None:
        return None
    entries = {_place(name): entry for name, entry in _entries(path).items()}
    parts = full_name(image).partition("@")[0].split("/")
    # A tag is of the last part; a colon in the first leads to a port.
    parts[-1] = parts[-1].partition(":")[0]
    for count in range(len(parts), 0, -1):
        entry = entries.get("/".join(parts[:count]))
        if entry is not None:
            return Login(_auth(entry, path, "/".join(parts[:count])))
    return None


def _entries(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = content.get("auths", {})
        if not isinstance(entries, dict):
            raise TypeError
    except OSError as error:
        raise RuntimeFaultError(f"registry credentials {path}: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError):
        # The error itself would say what stands there.
        raise RuntimeFaultError(
            f"registry credentials {path}: must be JSON as of Docker's config.json"
        ) from None
    return entries


def _place(name: str) -> str:
    """Return where an entry is for: a registry, or names within one."""
    name = name.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, rest = name.removesuffix("/v1").removesuffix("/v2").partition("/")
    host = DOCKER_HUB if host in _HUB_NAMES else host
    return f"{host}/{rest}" if rest else host


def _auth(entry: Any, path: Path, place: str) -> Mapping[str, str]:
    try:
        if entry.get("identitytoken"):
            return {"identitytoken": str(entry["identitytoken"])}
        if entry.get("auth"):
            user, colon, password = base64.b64decode(entry["auth"]).decode().partition(":")
            if colon:
                return {"username": user, "password": password}
        return {"username": str(entry["username"]), "password": str(entry["password"])}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RuntimeFaultError(
            f"registry credentials {path}: the entry for {place} needs auth "
            "(base64 of user:password), username and password, or identitytoken"
        ) from None

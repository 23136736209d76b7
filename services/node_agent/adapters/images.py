"""Fetches images of an engine: with credentials, progress in percent, and a look at digests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from aiodocker import Docker, DockerError

from services.node_agent.adapters.engine import Engine
from services.node_agent.adapters.image_collector import ImageUses
from services.node_agent.adapters.one_container import raise_unless_missing
from services.node_agent.adapters.registry_credentials import full_name, login_for
from services.node_agent.app.ports import ImageMissingError, Progress, RuntimeFaultError

_log = structlog.get_logger(__name__)

# How engines and registries say that there is no such image, or none for us.
_NO_SUCH_IMAGE = (
    "manifest unknown",
    "name unknown",
    "not found",
    "no such image",
    "does not exist",
    "denied",
    "unauthorized",
)
# How engines say of a layer that all of it is there.
_LAYER_DONE = {"Download complete", "Pull complete", "Already exists"}


class Images:
    """The images of one engine, as far as one node fetches them."""

    def __init__(
        self, engine: Engine, credentials: Path | None = None, uses: ImageUses | None = None
    ) -> None:
        """Fetch through an open engine; `credentials` is a file as of Docker's config.json.

        `uses` hears what was fetched, and what is needed.
        """
        self._engine = engine
        self._uses = uses
        self._credentials = credentials
        # Several replicas that begin with the same image wait for one fetch.
        self._fetching: dict[str, asyncio.Lock] = {}

    async def fetch(self, image: str, progress: Progress) -> None:
        """Get an image unless it is there. What is there isn't looked for again.

        Raises:
            ImageMissingError: there is no such image, or none for us.
            RuntimeFaultError: it could not be fetched, or is not what its digest says.
        """
        if self._uses is not None:
            self._uses.need([image])
        lock = self._fetching.setdefault(image, asyncio.Lock())
        try:
            async with lock:
                await self._engine.insist(lambda docker: self._fetch(docker, image, progress))
        finally:
            if not lock.locked():
                self._fetching.pop(image, None)

    async def _fetch(self, docker: Docker, image: str, progress: Progress) -> None:
        shown = await _inspect(docker, image)
        if shown is None:
            shown = await self._pull(docker, image, progress)
            if self._uses is not None:
                await asyncio.to_thread(self._uses.fetched, image)
            digest = digest_of(image, shown)
            progress.tell(f"pulled {digest}" if digest else "pulled")
            _log.info("fetched image", image=image, digest=digest)
        _check_pinned(image, shown)

    async def _pull(self, docker: Docker, image: str, progress: Progress) -> Mapping[str, Any]:
        login = await asyncio.to_thread(login_for, image, self._credentials)
        _log.info("fetching image", image=image, with_credentials=login is not None)
        meter = PullMeter()
        # Whoever is shown credentials must be the registry that they are for.
        name = full_name(image) if login is not None else image
        try:
            auth = dict(login.auth) if login is not None else None
            async for step in docker.images.pull(name, auth=auth, stream=True):
                if step.get("error"):
                    raise DockerError(500, str(step["error"]))
                progress.note(meter.take(step))
            # A pull that was cut off ends without a word.
            return dict(await docker.images.inspect(image))
        except DockerError as error:
            text = error.message.lower()
            if any(words in text for words in _NO_SUCH_IMAGE):
                raise ImageMissingError(f"image not found: {image}: {error.message}") from error
            raise


class PullMeter:
    """How much of an image is there, by what the engine says of its layers."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}
        self._percent = 0

    def take(self, step: Mapping[str, Any]) -> str:
        """Take in what the engine says next; return how far it is, for people."""
        layer, detail = str(step.get("id") or ""), step.get("progressDetail") or {}
        if step.get("status") in _LAYER_DONE and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1],) * 2
        elif step.get("status") != "Extracting" and detail.get("total"):
            self._layers[layer] = (int(detail.get("current") or 0), int(detail["total"]))
        total = sum(of for _, of in self._layers.values())
        if total:
            # A layer whose size is told late makes the share smaller; it is not shown to fall.
            share = 100 * sum(there for there, _ in self._layers.values()) // total
            self._percent = max(self._percent, min(99, share))
        return f"pulling {self._percent} %" if total else "pulling"


def digest_of(image: str, shown: Mapping[str, Any]) -> str:
    """Return the digest by which its registry knows an image; empty for one made here."""
    known = [str(each) for each in shown.get("RepoDigests") or ()]
    pinned = image.partition("@")[2]
    digests = sorted(each.partition("@")[2] for each in known)
    return pinned if pinned in digests else next(iter(digests), "")


def _check_pinned(image: str, shown: Mapping[str, Any]) -> None:
    pinned, digest = image.partition("@")[2], digest_of(image, shown)
    if pinned and pinned != digest:
        raise RuntimeFaultError(f"image {image} has another digest here: {digest or 'none'}")


async def _inspect(docker: Docker, image: str) -> Mapping[str, Any] | None:
    try:
        return dict(await docker.images.inspect(image))
    except DockerError as error:
        raise_unless_missing(error)
        return None

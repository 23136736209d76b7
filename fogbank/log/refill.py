"""A closed log, and how the operator refills it.

While a log is closed its stream takes nothing from its writers: its subjects lead nowhere, and what
the operator sends on another subject is stored under the writers' own. Readers and writers find the
reason in the stream's metadata and wait. A stream keeps its name, so that nobody has to be told of
another; closed from its first commit to the last it never serves as a shorter log.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import nats.errors

from fogbank.log.lookup import find_commit
from fogbank.log.ordered_consumer import OrderedReader
from fogbank.log.port import LogGapError, LogUnavailableError, StoredCommit
from fogbank.log.stream import (
    CLOSED,
    NO_SUCH_STREAM,
    ApiError,
    StreamName,
    StreamSettings,
    api_request,
)

if TYPE_CHECKING:
    from fogbank.log.nats_connection import NatsConnection

REFILLED = "fogbank.refilled"

_API_TIMEOUT_S = 30.0
_BATCH_TIMEOUT_S = 30.0
_LOOKS_AT_ONCE = 100
_TRIES = 5
# The broker's own words about a stream.
_THEIRS = "_nats."


class RefillRefusedError(LogUnavailableError):
    """The broker did not take what it was sent."""

    default_reason = "REFILL_REFUSED"


class StreamState:
    """A stream as the broker tells of it; without one, `last` is 0 and `config` empty."""

    def __init__(self, info: dict[str, Any]) -> None:
        state = info.get("state", {})
        self.config: dict[str, Any] = info.get("config", {})
        self.exists = bool(self.config)
        self.first: int = state.get("first_seq", 0)
        self.last: int = state.get("last_seq", 0)
        self.messages: int = state.get("messages", 0)
        self.closed = bool((self.config.get("metadata") or {}).get(CLOSED))


class LogStream:
    """The stream of a log in the operator's hands."""

    def __init__(
        self, connection: NatsConnection, name: StreamName, settings: StreamSettings
    ) -> None:
        """Take hold of it; `settings` are for a stream that has to be made."""
        self._connection = connection
        self.name = name
        self._settings = settings
        self._batches = 0

    async def state(self) -> StreamState:
        """Return what the broker says of it.

        Raises:
            LogUnavailableError: no answer.
            LogPermissionError: this user may not ask.
        """
        try:
            return StreamState(await self._api("STREAM.INFO"))
        except ApiError as error:
            if error.code == NO_SUCH_STREAM:
                return StreamState({})
            raise LogUnavailableError(f"the broker cannot tell of the stream: {error}") from error

    async def close(self, why: str) -> None:
        """Let nobody write to it, and let readers and writers find out why; make it if missing."""
        state = await self.state()
        config = state.config or self._settings.config(self.name)
        verb = "STREAM.UPDATE" if state.exists else "STREAM.CREATE"
        await self._change(verb, self._closed(config, why))

    async def begin_anew(self, why: str, first_sequence: int = 1) -> None:
        """Throw away the stream with all it holds and make it again, closed and empty."""
        state = await self.state()
        config = self._closed(state.config or self._settings.config(self.name), why)
        config["first_seq"] = first_sequence
        for _ in range(_TRIES):
            if (await self.state()).exists:
                await self._change("STREAM.DELETE")
            try:
                await self._change("STREAM.CREATE", config)
            except RefillRefusedError:
                # A service that may make streams was quicker.
                await asyncio.sleep(0)
                continue
            return
        raise RefillRefusedError(f"somebody makes the stream {self.name.stream} again and again")

    async def open(self, note: str = "") -> None:
        """Let writers write again; `note` stays with the stream for whoever looks at it."""
        config = (await self.state()).config
        metadata = {key: value for key, value in config["metadata"].items() if key != CLOSED}
        if note:
            metadata[REFILLED] = note
        opened = _ours(config) | {
            "subjects": self._settings.config(self.name)["subjects"],
            "metadata": metadata,
            "allow_atomic": False,
        }
        opened.pop("subject_transform", None)
        await self._change("STREAM.UPDATE", opened)

    async def delete(self) -> None:
        """Delete the stream, if there is one."""
        if (await self.state()).exists:
            await self._change("STREAM.DELETE")

    async def fill(self, commits: Sequence[StoredCommit]) -> None:
        """Append commits to the closed stream, each under its writer's subject and its sequence.

        All of them are in it afterwards, or none.

        Raises:
            RefillRefusedError: the broker says no; another commit may be in that place.
            LogUnavailableError: no answer.
        """
        before, last = commits[0].sequence - 1, commits[-1].sequence
        why = ""
        for _ in range(_TRIES):
            try:
                answer = await self._send(commits, before)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                why = repr(error)
            else:
                if refusal := answer.get("error"):
                    raise RefillRefusedError(
                        f"the broker refuses the commits {before + 1} to {last}: "
                        f"{refusal.get('description')}"
                    )
                return
            await self._connection.wait_connected(_BATCH_TIMEOUT_S)
            if (await self.state()).last == last:
                return
        raise LogUnavailableError(f"the broker does not confirm the commits up to {last}: {why}")

    async def _send(self, commits: Sequence[StoredCommit], before: int) -> dict[str, Any]:
        await self._connection.wait_connected(_BATCH_TIMEOUT_S)
        self._batches += 1
        batch = f"{self._connection.client.client_id}-{before}-{self._batches}"
        headers = {"Nats-Batch-Id": batch, "Nats-Expected-Last-Sequence": str(before)}
        for number, commit in enumerate(commits[:-1], start=1):
            headers["Nats-Batch-Sequence"] = str(number)
            await self._connection.client.publish(
                self._aside_of(commit), commit.data, headers=headers
            )
            headers.pop("Nats-Expected-Last-Sequence", None)
        reply = await self._connection.request(
            self._aside_of(commits[-1]),
            commits[-1].data,
            timeout_s=_BATCH_TIMEOUT_S,
            headers=headers | {"Nats-Batch-Sequence": str(len(commits)), "Nats-Batch-Commit": "1"},
        )
        answer: dict[str, Any] = json.loads(reply.data)
        return answer

    def _aside_of(self, commit: StoredCommit) -> str:
        return f"{self._aside}{commit.writer.service}.{commit.writer.instance}"

    async def commits(self, first: int, last: int) -> AsyncGenerator[list[StoredCommit], None]:
        """Yield those of the commits `first` to `last` that the broker can show, in order.

        What its store lost or cannot read any more is left out.
        """
        position = first - 1
        last = min(last, (await self.state()).last)
        while position < last:
            reader = OrderedReader(self._connection, self.name, position, even_closed=True)
            batches = reader.batches()
            try:
                async for batch in batches:
                    wanted = [commit for commit in batch if commit.sequence <= last]
                    if wanted:
                        yield wanted
                    position = batch[-1].sequence
                    if position >= last:
                        return
            except LogGapError:
                pass
            finally:
                await batches.aclose()
            async for found in self._behind_a_gap(position + 1, last):
                position = found[-1].sequence if found else position
                if found:
                    yield found
                    break
            else:
                return

    async def _behind_a_gap(
        self, first: int, last: int
    ) -> AsyncGenerator[list[StoredCommit], None]:
        """Look for single commits, some at a time, until one is found."""
        for begin in range(first, last + 1, _LOOKS_AT_ONCE):
            looks = (
                self._look(each) for each in range(begin, min(last + 1, begin + _LOOKS_AT_ONCE))
            )
            found = await asyncio.gather(*looks)
            yield [commit for commit in found if commit is not None]

    async def _look(self, sequence: int) -> StoredCommit | None:
        return await find_commit(self._connection, self.name, {"seq": sequence})

    @property
    def _aside(self) -> str:
        return f"fogbank.refill.{self.name.fleet}.{self.name.generation}."

    def _closed(self, config: dict[str, Any], why: str) -> dict[str, Any]:
        metadata = dict(_ours(config).get("metadata") or {})
        return _ours(config) | {
            "subjects": [f"{self._aside}>"],
            "subject_transform": {"src": f"{self._aside}>", "dest": f"{self.name.prefix}>"},
            "metadata": metadata | {CLOSED: why},
            "allow_atomic": True,
        }

    async def _change(self, verb: str, body: dict[str, Any] | None = None) -> None:
        try:
            await self._api(verb, body)
        except ApiError as error:
            raise RefillRefusedError(
                f"the broker refuses {verb} of {self.name.stream}: {error.description}"
            ) from error

    async def _api(self, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        endpoint = f"{verb}.{self.name.stream}"
        return await api_request(self._connection, endpoint, body, timeout_s=_API_TIMEOUT_S)


def _ours(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without what the broker itself wrote into it."""
    metadata = config.get("metadata") or {}
    return config | {
        "metadata": {key: value for key, value in metadata.items() if not key.startswith(_THEIRS)}
    }

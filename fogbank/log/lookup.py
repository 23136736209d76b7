"""Fetching single commits out of the stream."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from fogbank.log.port import LogUnavailableError, StoredCommit, Writer
from fogbank.log.stream import NO_SUCH_STREAM, ApiError, StreamName, api_request

if TYPE_CHECKING:
    from fogbank.log.nats_connection import NatsConnection

_TRY_S = 1.0
_NO_SUCH_MESSAGE = 10037


async def find_commit(
    connection: NatsConnection, name: StreamName, query: dict[str, Any]
) -> StoredCommit | None:
    """Return the commit that a query finds; None without one, as in a stream that isn't there.

    The stream's leader is asked: a direct get may be answered by a replica that lags.

    Raises:
        LogUnavailableError: no answer.
    """
    try:
        answer = await api_request(
            connection, f"STREAM.MSG.GET.{name.stream}", query, timeout_s=_TRY_S
        )
    except ApiError as error:
        if error.code in {_NO_SUCH_MESSAGE, NO_SUCH_STREAM}:
            return None
        raise LogUnavailableError(f"the broker cannot show a commit: {error}") from error
    message = answer["message"]
    return StoredCommit(
        message["seq"],
        writer_of(name, message["subject"]),
        base64.b64decode(message.get("data", "")),
    )


def writer_of(name: StreamName, subject: str) -> Writer:
    """Return the writer that a commit's subject names."""
    service, _, instance = subject.removeprefix(name.prefix).partition(".")
    return Writer(service, instance)

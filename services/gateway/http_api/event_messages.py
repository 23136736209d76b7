"""Commits as messages of the event stream, made once for all who may see the same."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from pydantic_core import to_json

from fogbank.codec import EVENT_TYPES
from fogbank.domain.envelope import Commit
from services.gateway.app.events import Events, Seen
from services.gateway.app.principal import Principal
from services.gateway.http_api import rendering

# Who follows is at most some seconds behind; who resumes further back has its messages made anew.
_KEPT_MESSAGES = 5_000
_KEPT_BYTES = 8 * 1024 * 1024

# Keys of sealed environments say nothing without the sealing key, and are nobody's business.
_HIDDEN = frozenset({"env_key"})
_TYPE_NAMES = {kind.domain: kind.name for kind in EVENT_TYPES.values()}


class EventMessages:
    """Makes messages, and keeps the latest of them."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._kept: OrderedDict[tuple[int, str], bytes] = OrderedDict()
        self._bytes = 0

    def of(self, principal: Principal, commit: Commit) -> bytes:
        """Return the message of a commit for somebody; empty if nothing of it is theirs."""
        # By what `Events.seen` goes by: tokens of one service account don't all see the same.
        key = (commit.sequence, "" if principal.sees_all else principal.user_id)
        message = self._kept.get(key)
        if message is None:
            message = self._kept[key] = _message(self._events.seen(principal, commit))
            self._bytes += len(message)
            while len(self._kept) > _KEPT_MESSAGES or self._bytes > _KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return message


def _message(seen: Seen) -> bytes:
    if not seen.events:
        return b""
    return b"id: %d\ndata: %s\n\n" % (seen.commit.sequence, to_json(_commit(seen)))


def _commit(seen: Seen) -> dict[str, Any]:
    commit = seen.commit
    return {
        "sequence": commit.sequence,
        "appended_at": rendering.instant(commit.appended_at_us),
        "writer": {"service": commit.service, "instance": commit.instance},
        "events": [
            {
                "index": index,
                "id": commit.envelopes[index].event_id,
                "type": _TYPE_NAMES.get(type(event), "") if event is not None else "",
                "aggregate": commit.envelopes[index].aggregate,
                "actor": commit.envelopes[index].actor,
                "occurred_at": rendering.instant(commit.envelopes[index].occurred_at_us),
                "data": rendering.plain(event, hidden=_HIDDEN) if event is not None else None,
            }
            for index, event in zip(seen.indexes, seen.events, strict=True)
        ],
    }

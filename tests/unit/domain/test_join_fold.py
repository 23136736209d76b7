"""By which rules tokens count and nodes join, told by the fold and by the checker alike."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fogbank.checker import LogCommit, check_log
from fogbank.domain import events as ev
from fogbank.domain.facts import KNOWN_EVENT_US
from fogbank.domain.fleet import FleetState
from fogbank.domain.join_tokens import PREFIX, JoinToken
from fogbank.domain.verdict import VoidReason
from tests.support.fleet_log import START_US, LittleLog, a_fingerprint, an_id
from tests.support.laws import broken_laws

TOKEN, OTHER = an_id("token"), an_id("other token")
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
NODE, SECOND, THIRD = an_id("fog-1"), an_id("fog-2"), an_id("fog-3")
LATER_US = START_US + 3_600_000_000


def a_token(uses: int = 1, expires_at_us: int = LATER_US) -> ev.JoinTokenCreated:
    return ev.JoinTokenCreated(b"s" * 32, uses, expires_at_us)


def joined(node_id: str = NODE, key: bytes = KEY, token: str = TOKEN) -> ev.NodeJoined:
    return ev.NodeJoined(token, node_id, key)


CONNECTED = ev.NodeConnected(NODE, "fog-1", a_fingerprint())
# What happens, in order, and why the last of it doesn't count. Tokens come by their ids.
Story = Sequence[ev.Event | tuple[str, ev.Event]]
STORIES: dict[str, tuple[Story, VoidReason | None]] = {
    "a token lets a node join": ([(TOKEN, a_token()), joined()], None),
    "without one nobody joins": ([joined()], VoidReason.JOIN_UNKNOWN),
    "one use is one node": (
        [(TOKEN, a_token()), joined(), joined(SECOND)],
        VoidReason.JOIN_USED_UP,
    ),
    "two uses are two": ([(TOKEN, a_token(2)), joined(), joined(SECOND)], None),
    "and not three": (
        [(TOKEN, a_token(2)), joined(), joined(SECOND), joined(THIRD)],
        VoidReason.JOIN_USED_UP,
    ),
    "who did not hear may ask again": ([(TOKEN, a_token()), joined(), joined()], None),
    "and takes no further use": (
        [(TOKEN, a_token(2)), joined(), joined(), joined(SECOND)],
        None,
    ),
    "another key is another node": (
        [(TOKEN, a_token(2)), joined(), joined(key=OTHER_KEY)],
        VoidReason.OTHER_KEY,
    ),
    "an expired token is none": (
        [(TOKEN, a_token(expires_at_us=START_US - 1)), joined()],
        VoidReason.JOIN_EXPIRED,
    ),
    "nor is a revoked one": (
        [(TOKEN, a_token()), ev.JoinTokenRevoked(TOKEN), joined()],
        VoidReason.JOIN_REVOKED,
    ),
    "what there is not can't be revoked": (
        [ev.JoinTokenRevoked(TOKEN)],
        VoidReason.JOIN_UNKNOWN,
    ),
    "a second token takes a use of its own": (
        [
            *((TOKEN, a_token()), (OTHER, a_token())),
            *(joined(), joined(token=OTHER), joined(SECOND, token=OTHER)),
        ],
        VoidReason.JOIN_USED_UP,
    ),
    "who was removed stays away": (
        [(TOKEN, a_token(2)), joined(), CONNECTED, ev.NodeRemoved(NODE), joined()],
        VoidReason.NODE_REMOVED,
    ),
    "who never connected can be struck off": (
        [(TOKEN, a_token()), joined(), ev.NodeIdentityRevoked(NODE)],
        None,
    ),
    "and doesn't come back": (
        [(TOKEN, a_token(2)), joined(), ev.NodeIdentityRevoked(NODE), joined()],
        VoidReason.NODE_REMOVED,
    ),
    "nor connects": (
        [(TOKEN, a_token()), joined(), ev.NodeIdentityRevoked(NODE), CONNECTED],
        VoidReason.NODE_REMOVED,
    ),
    "nor is struck off twice": (
        [(TOKEN, a_token()), joined(), *[ev.NodeIdentityRevoked(NODE)] * 2],
        VoidReason.NODE_REMOVED,
    ),
    "who connected is not struck off": (
        [(TOKEN, a_token()), joined(), CONNECTED, ev.NodeIdentityRevoked(NODE)],
        VoidReason.NODE_CONNECTED,
    ),
    "nor who never joined": ([ev.NodeIdentityRevoked(NODE)], VoidReason.UNKNOWN_NODE),
    "a copy is told of": (
        [CONNECTED, ev.CopiedIdentityRefused(NODE, 1, 2)],
        None,
    ),
    "but not of a node that there is not": (
        [ev.CopiedIdentityRefused(NODE, 1, 2)],
        VoidReason.UNKNOWN_NODE,
    ),
    "a token of no use is malformed": ([(TOKEN, a_token(0))], VoidReason.MALFORMED),
    "a key's digest has 32 bytes": (
        [(TOKEN, a_token()), joined(key=b"short")],
        VoidReason.MALFORMED,
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_what_counts(name: str) -> None:
    story, why = STORIES[name]
    log, fleet = LittleLog(), FleetState()
    verdicts = []
    for each in story:
        event_id, event = each if isinstance(each, tuple) else ("", each)
        verdicts.append(fleet.fold(log.fact(event, event_id)).verdicts[0].reason)
    assert verdicts[:-1] == [None] * (len(story) - 1)
    assert verdicts[-1] is why
    report = check_log(
        LogCommit(number, "gateway", "one", data) for number, data in enumerate(log.data, start=1)
    )
    assert report.counts.events_void == (0 if why is None else 1)


def test_a_revoked_token_stays_so_however_often_its_request_is_repeated() -> None:
    log, fleet = LittleLog(), FleetState()
    made = log.fact(a_token(expires_at_us=LATER_US), TOKEN)
    fleet.fold(made)
    fleet.fold(log.fact(ev.JoinTokenRevoked(TOKEN)))
    log.now_us += KNOWN_EVENT_US + 1
    again = fleet.fold(log.fact(a_token(expires_at_us=2 * LATER_US), TOKEN)).verdicts[0]
    assert again.reason is VoidReason.DUPLICATE
    assert again.original is not None
    assert (again.original.position, again.original.reason) == (made.sequence << 16, None)
    assert again.content_digest == made.envelopes[0].content_digest
    assert fleet.fold(log.fact(joined())).verdicts[0].reason is VoidReason.JOIN_REVOKED
    assert fleet.facts.join_tokens[TOKEN].expires_at_us == LATER_US
    assert broken_laws(log) == []
    report = check_log(
        LogCommit(number, "gateway", "one", data) for number, data in enumerate(log.data, start=1)
    )
    assert report.counts.events_void == 2


def test_a_token_survives_being_copied_and_nothing_less() -> None:
    token = JoinToken(TOKEN, b"s" * 32, b"a" * 32)
    assert JoinToken.parse(f" {token.text}\n") == token
    for wrong in ("", "nonsense", PREFIX, token.text[:-4], token.text.replace("c3Nz", "c3Nx", 1)):
        with pytest.raises(ValueError, match="join token"):
            JoinToken.parse(wrong)
    assert token.text not in repr(token)

"""Following decoded commits."""

import pytest

from fogbank.codec import CodecError, encode_commit, encode_envelope
from fogbank.log.follower import OwnCommit, decode, follow_commits, read_commits
from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.port import StoredCommit, Writer
from tests.unit.log.test_group_commit import event


async def test_commits_arrive_decoded_with_their_place_and_writer() -> None:
    log = MemoryLog(MemoryStore(), Writer("scheduler", "one"))
    for number in range(3):
        await log.append(encode_commit(number + 1, [encode_envelope(event(f"e{number}"))]))
    commits = [commit async for batch in read_commits(log, 2, 9) for commit in batch]
    assert [commit.sequence for commit in commits] == [2, 3]
    assert {(commit.service, commit.instance) for commit in commits} == {("scheduler", "one")}
    assert [commit.appended_at_us for commit in commits] == [2, 3]


async def test_an_undecodable_commit_stops_the_reader_right_before_it() -> None:
    log = MemoryLog(MemoryStore(), Writer("gateway", "one"))
    await log.append(encode_commit(1, [encode_envelope(event("good"))]))
    await log.append(b"\xff not a commit")
    batches = follow_commits(log, 0)
    assert [commit.sequence for commit in await anext(batches)] == [1]
    with pytest.raises(CodecError, match="commit 2"):
        await anext(batches)


async def test_many_bytes_come_in_pieces() -> None:
    log = MemoryLog(MemoryStore(), Writer("gateway", "one"))
    for number in range(20):
        await log.append(encode_commit(1, [encode_envelope(event(f"{number}", padding=50_000))]))
    batches = [batch async for batch in read_commits(log, 1, 20)]
    assert len(batches) > 1
    assert [commit.sequence for batch in batches for commit in batch] == list(range(1, 21))


def test_what_a_writer_appended_last_is_known_without_decoding() -> None:
    own, envelope = OwnCommit(), event("e1")
    data = own.encode(7, envelope)
    stored = StoredCommit(3, Writer("scheduler", "one"), data)
    assert own.decode(stored) == decode(stored)
    assert own.decode(stored).envelopes[0] is envelope


def test_other_bytes_than_those_appended_are_decoded() -> None:
    own, log = OwnCommit(), Writer("scheduler", "one")
    before = own.encode(7, event("e1"))
    own.encode(7, event("e2"))
    assert own.decode(StoredCommit(3, log, before)).envelopes[0].event_id == "e1"
    with pytest.raises(CodecError, match="commit 4"):
        own.decode(StoredCommit(4, log, before[:-1]))

"""Whatever is changed in the log, its copy, its tree or what was signed is found, and where."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog.testing

from fogbank.cli.failures import CommandError
from fogbank.cli.log_evidence import check_proof, read_key
from fogbank.cli.main import run
from fogbank.codec.log_evidence import proof_from_pb, verified_from_pb
from fogbank.domain.log_evidence import VerifiedPart
from fogbank.log.port import StoredCommit, Writer
from fogbank.runtime.operator_error import OperatorError
from fogbank.transparency.note import Checkpoint, NoteError, Signer, VerifierKey, read, sign
from fogbank.transparency.tree import leaf_hash, root_of
from fogbank.v1 import audit_service_pb2 as pb
from services.ledger.adapters.checkpoint_files import CheckpointFolder, read_keys
from services.ledger.app.evidence import LogRewrittenError, NoCheckpointsError
from tests.support.audited import audited
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.gateway import signed_in
from tests.support.ledger import ORIGIN, Ledger, StoredLog, a_running_ledger, rows_of
from tests.support.waiting import eventually

COMMITS = 300
SIGNED = 200


def a_log(commits: int = COMMITS) -> StoredLog:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    for _ in range(commits - 1):
        fleet.deploy(a_spec())
    log = StoredLog()
    log.publish(fleet.log, commits)
    assert log.last == commits
    return log


LOG = a_log()


@asynccontextmanager
async def a_signed_log(url: str, folder: Path) -> AsyncIterator[tuple[StoredLog, Ledger, Any]]:
    """Run a ledger that signed the first 200 of 300 commits."""
    log = StoredLog()
    log.store.commits = LOG.store.commits[:SIGNED]
    async with a_running_ledger(url, log, checkpoints=folder) as ledger:
        await ledger.answers.evidence.sign()
        log.store.commits += LOG.store.commits[SIGNED:]
        log.store.wake()
        await ledger.reaches(COMMITS)
        async with audited(ledger, log) as audit:
            yield log, ledger, audit


async def verified(audit: Any, first: int = 0, last: int = 0, user: str = "admin") -> VerifiedPart:
    request = pb.VerifyLogRequest(from_sequence=first, to_sequence=last)
    answers = audit.VerifyLog(request, metadata=signed_in(user), timeout=60)
    return [verified_from_pb(answer) async for answer in answers][-1]


async def test_a_sound_log_is_found_sound_from_anywhere(url: str, tmp_path: Path) -> None:
    async with a_signed_log(url, tmp_path) as (log, ledger, audit):
        assert await verified(audit) == VerifiedPart(COMMITS, COMMITS, 1)
        for first, last, signed in ((1, 199, 0), (200, 200, 1), (201, 300, 0), (257, 258, 0)):
            count = last - first + 1
            assert await verified(audit, first, last) == VerifiedPart(count, count, signed)
        await ledger.answers.evidence.sign()
        assert (await verified(audit)).checkpoints == 2
    # A ledger that starts again goes on with the tree.
    more = a_log(COMMITS + 100)
    log.store.commits += more.store.commits[COMMITS:]
    async with a_running_ledger(url, log, checkpoints=tmp_path) as ledger:
        head = await ledger.store.tree()
        assert head.size == COMMITS + 100
        assert head.grow_on().root == root_of(
            leaf_hash(each.writer.service, each.writer.instance, each.digest)
            for each in log.store.commits
        )
        async with audited(ledger, log) as audit:
            assert (await verified(audit)).checked == COMMITS + 100


def flipped(data: bytes) -> bytes:
    return bytes([data[0], data[1] ^ 1]) + data[2:]


def put(commits: list[StoredCommit], sequence: int, other: StoredCommit) -> None:
    commits[sequence - 1] = StoredCommit(sequence, other.writer, other.data)


def flip(commits: list[StoredCommit]) -> None:
    commit = commits[98]
    put(commits, 99, StoredCommit(99, commit.writer, flipped(commit.data)))


def drop(commits: list[StoredCommit]) -> None:
    following = commits[99:]
    del commits[98:]
    for commit in following:
        commits.append(StoredCommit(len(commits) + 1, commit.writer, commit.data))


def insert(commits: list[StoredCommit]) -> None:
    following = commits[98:-1]
    del commits[98:]
    for commit in (commits[3], *following):
        commits.append(StoredCommit(len(commits) + 1, commit.writer, commit.data))


def swap(commits: list[StoredCommit]) -> None:
    one, other = commits[98], commits[99]
    put(commits, 99, other)
    put(commits, 100, one)


def ascribe(commits: list[StoredCommit]) -> None:
    put(commits, 99, StoredCommit(99, Writer("scheduler", "other"), commits[98].data))


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (flip, "the log's commit 99 was changed"),
        (drop, "the log's commit 99 was changed"),
        (insert, "commit 99"),
        (swap, "the log's commit 99 was changed"),
        (ascribe, "commit 99 is by scheduler/other in the log"),
    ],
)
async def test_a_change_of_the_log_is_found(
    url: str, tmp_path: Path, tamper: Callable[[list[StoredCommit]], None], says: str
) -> None:
    async with a_signed_log(url, tmp_path) as (log, _, audit):
        tamper(log.store.commits)
        part = await verified(audit)
        assert (part.bad_sequence, part.checkpoints) == (99, 0)
        assert says in part.problem


async def test_a_log_that_was_cut_off_is_found(url: str, tmp_path: Path) -> None:
    async with a_signed_log(url, tmp_path) as (log, _, audit):
        del log.store.commits[150:]
        part = await verified(audit)
        assert (part.bad_sequence, part.problem) == (151, "the log ends before it")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE commits SET data = 'other' WHERE sequence = 99", "the ledger's copy of commit 99"),
        (
            "UPDATE commits SET digest = sha256('x') WHERE sequence = 99",
            "commit 99 or what is noted",
        ),
        ("UPDATE commits SET instance = 'x' WHERE sequence = 99", "commit 99 is by gateway/"),
        ("DELETE FROM commits WHERE sequence = 99", "copy of commit 99 is gone"),
    ],
)
async def test_a_change_of_the_copy_is_found(
    url: str, tmp_path: Path, change: str, says: str
) -> None:
    async with a_signed_log(url, tmp_path) as (_, _, audit):
        await rows_of(url, change)
        part = await verified(audit)
        assert part.bad_sequence == 99
        assert says in part.problem


async def change_both(url: str, log: StoredLog, sequence: int) -> None:
    """Change a commit in log and copy alike, with the digest noted of it."""
    commit = log.store.commits[sequence - 1]
    data = flipped(commit.data)
    put(log.store.commits, sequence, StoredCommit(sequence, commit.writer, data))
    await rows_of(
        url,
        f"UPDATE commits SET data = '\\x{data.hex()}', digest = '\\x{sha256(data).hexdigest()}' "  # noqa: S608
        f"WHERE sequence = {sequence}",
    )


async def test_a_change_of_log_and_copy_alike_is_found_by_what_was_signed(
    url: str, tmp_path: Path
) -> None:
    async with a_signed_log(url, tmp_path) as (log, _, audit):
        await change_both(url, log, 99)
        part = await verified(audit)
        assert part.bad_sequence == 1
        assert "one of the commits 1 to 200 was changed in the log and its copy" in part.problem


async def test_a_change_behind_the_last_checkpoint_is_found_by_the_tree(
    url: str, tmp_path: Path
) -> None:
    async with a_signed_log(url, tmp_path) as (log, _, audit):
        await change_both(url, log, 250)
        part = await verified(audit)
        assert (part.bad_sequence, part.checkpoints) == (1, 1)
        assert "the tree's node over the commits 1 to 256" in part.problem


async def test_forged_checkpoints_are_found(url: str, tmp_path: Path) -> None:
    async with a_signed_log(url, tmp_path) as (_, ledger, audit):
        folder = CheckpointFolder(tmp_path)
        (path,) = notes_in(tmp_path)
        note = path.read_text()
        signed = read(note, ledger.answers.evidence.trusted)
        other = read_keys(tmp_path / "other", ORIGIN)
        for forged, says in (
            (note.replace("\n200\n", "\n201\n"), "does not fit the text"),
            (sign(signed, other.signers), "none of the 1 keys given signed it"),
            ("word", "none of the 1 keys given signed it"),
        ):
            path.write_text(forged)
            part = await verified(audit)
            assert part.bad_sequence == SIGNED
            assert says in part.problem
        path.write_text(note)
        await folder.write(SIGNED - 1, note)
        assert "is one of 200" in (await verified(audit)).problem


@pytest.mark.parametrize("sequence", [1, 99, 257, 300])
async def test_a_commit_is_proved_to_whoever_has_the_key(
    url: str, tmp_path: Path, sequence: int
) -> None:
    async with a_signed_log(url, tmp_path) as (_, _, audit):
        wanted = pb.ProveCommitRequest(sequence=sequence)
        proof = proof_from_pb(await audit.ProveCommit(wanted, metadata=signed_in("admin")))
        signed = await audit.GetLogCheckpoint(
            pb.GetLogCheckpointRequest(), metadata=signed_in("alice")
        )
        keys = read_key(signed.verifier_keys[0])
        proved = check_proof(proof, keys)
        # What was signed last is enough for a commit in it.
        size = SIGNED if sequence <= SIGNED else COMMITS
        assert (proved["sequence"], proved["log_size"]) == (sequence, size)
        assert read(signed.note, keys).size == size
        for other in (
            replace(proof, sequence=sequence % COMMITS + 1),
            replace(proof, data=flipped(proof.data)),
            replace(proof, service="ledger"),
            replace(proof, path=proof.path[::-1]),
            replace(proof, note=proof.note.replace(f"\n{size}\n", f"\n{size + 1}\n")),
        ):
            with pytest.raises(CommandError, match="does not hold"):
                check_proof(other, keys)
        flip = "UPDATE commits SET data = set_byte(data, 9, get_byte(data, 9) # 1)"
        await rows_of(url, f"{flip} WHERE sequence = {sequence}")
        with pytest.raises(grpc.aio.AioRpcError, match=f"copy of commit {sequence} is damaged"):
            await audit.ProveCommit(wanted, metadata=signed_in("admin"))
        with pytest.raises(CommandError, match="none of the 1 keys"):
            check_proof(proof, [other_key(tmp_path)])


def other_key(folder: Path) -> VerifierKey:
    return read_keys(folder / "other", ORIGIN).trusted[0]


async def test_who_may_not_and_what_there_is_not(url: str, tmp_path: Path) -> None:
    async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return caught.value.code(), caught.value.details() or ""

    invalid = grpc.StatusCode.INVALID_ARGUMENT
    async with a_signed_log(url, tmp_path) as (_, _, audit):
        code, _ = await refused(verified(audit, user="alice"))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        request = pb.ProveCommitRequest(sequence=1)
        code, _ = await refused(audit.ProveCommit(request, metadata=signed_in("alice")))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert (await refused(verified(audit, 301)))[0] is invalid
        assert (await refused(verified(audit, 0, 301)))[0] is invalid
        assert (await refused(verified(audit, -1)))[0] is invalid
        for sequence in (-1, 0, 301):
            request = pb.ProveCommitRequest(sequence=sequence)
            code, details = await refused(audit.ProveCommit(request, metadata=signed_in("admin")))
            assert code is invalid
            assert "sequence: must be 1 to 300" in details


def notes_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob("*.checkpoint")}


async def test_the_last_note_is_for_all_and_a_fresh_one_for_administrators(
    url: str, tmp_path: Path
) -> None:
    async with a_signed_log(url, tmp_path) as (_, ledger, audit):

        async def size(user: str, *, fresh: bool = False) -> int:
            request = pb.GetLogCheckpointRequest(fresh=fresh)
            answer = await audit.GetLogCheckpoint(request, metadata=signed_in(user))
            return read(answer.note, ledger.answers.evidence.trusted).size

        assert (await size("alice"), await size("admin")) == (SIGNED, SIGNED)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await size("alice", fresh=True)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert len(notes_in(tmp_path)) == 1
        assert await size("admin", fresh=True) == COMMITS
        assert await size("alice") == COMMITS


async def test_what_was_signed_first_stays_when_a_ledger_starts_again(
    url: str, tmp_path: Path
) -> None:
    async with a_signed_log(url, tmp_path) as (log, ledger, _):
        await ledger.answers.evidence.sign()
    notes = notes_in(tmp_path)
    newer = read_keys(tmp_path / "newer", ORIGIN).signers[0].text
    with (tmp_path / "keys").open("a") as keys:
        keys.write(newer + "\n")
    async with a_running_ledger(url, log, checkpoints=tmp_path) as ledger:
        again = await ledger.answers.evidence.sign()
        assert again.note.encode() in notes.values()
        await CheckpointFolder(tmp_path).write(COMMITS, "another")
    assert notes_in(tmp_path) == notes


@pytest.mark.parametrize("grows", [False, True], ids=["same-size", "larger"])
async def test_a_log_that_was_rewritten_is_reported_and_not_signed(
    url: str, tmp_path: Path, *, grows: bool
) -> None:
    async with a_signed_log(url, tmp_path) as (log, ledger, _):
        if not grows:
            await ledger.answers.evidence.sign()
    # All of the tree is made anew over a log in which one commit is another.
    commit = log.store.commits[98]
    put(log.store.commits, 99, StoredCommit(99, Writer("gateway", "other"), commit.data))
    now = ("commits", "tree_nodes", "deployments", "node_standings", "commit_touches")
    once = ("former_deployments", "cluster_history", "node_name_history", "node_use_history")
    for table in (*now, *once, "deployment_status_history"):
        await rows_of(url, f"DELETE FROM {table}")  # noqa: S608
    await rows_of(url, "UPDATE checkpoint SET position = 0, digest = ''")
    await rows_of(url, "UPDATE log_tree SET size = 0, frontier = ''")
    async with a_running_ledger(url, log, checkpoints=tmp_path) as ledger:
        evidence = ledger.answers.evidence
        with structlog.testing.capture_logs() as said:
            signing = asyncio.create_task(evidence.run(3600))
            await eventually(lambda: said, what="what it says")
            signing.cancel()
        assert [line["log_level"] for line in said] == ["critical"]
        with pytest.raises(LogRewrittenError, match="does not begin with the"):
            await evidence.sign()
        assert (await evidence.latest()).size == (SIGNED if grows else COMMITS)
    assert len(notes_in(tmp_path)) == (1 if grows else 2)


async def test_a_last_note_that_nobody_trusted_signed_stops_the_signing(
    url: str, tmp_path: Path
) -> None:
    async with a_signed_log(url, tmp_path) as (log, _, _):
        pass
    (tmp_path / "keys").unlink()
    async with a_running_ledger(url, log, checkpoints=tmp_path) as ledger:
        with pytest.raises(NoCheckpointsError, match="of 200 commits, can't be believed"):
            await ledger.answers.evidence.sign()


async def test_without_a_folder_nothing_is_signed(url: str) -> None:
    log = a_log(5)
    async with a_running_ledger(url, log) as ledger, audited(ledger, log) as audit:
        assert await verified(audit) == VerifiedPart(5, 5)
        with pytest.raises(grpc.aio.AioRpcError, match="set FOG_CHECKPOINT_DIR") as caught:
            await audit.GetLogCheckpoint(pb.GetLogCheckpointRequest(), metadata=signed_in("admin"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_keys_are_made_once_and_change_hands(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    made = read_keys(path, ORIGIN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_keys(path, ORIGIN).trusted == made.trusted
    newer = read_keys(tmp_path / "newer", ORIGIN)
    # The old key retires: what it signed still counts, and it signs no more.
    path.write_text(f"{newer.signers[0].text}\n\n{made.trusted[0].text}\n")
    changed = read_keys(path, ORIGIN)
    assert [signer.verifier for signer in changed.signers] == list(newer.trusted)
    assert changed.trusted == (*newer.trusted, *made.trusted)


@pytest.mark.slow
def test_the_command_exchanges_a_key_in_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@/none")
    path = tmp_path / "keys"
    former = read_keys(path, ORIGIN)

    def keys(*flags: str) -> dict[str, list[str]]:
        assert run(["audit", "keys", "--key-file", str(path), *flags, "-o", "json"]) == 0
        said: dict[str, list[str]] = json.loads(capsys.readouterr().out)
        return said

    (old,) = keys()["signing"]
    assert run(["audit", "keys", "--key-file", str(path), "--retire"]) != 0
    assert "add another one before" in capsys.readouterr().err
    old_note = sign(Checkpoint(ORIGIN, 1, bytes(32)), former.signers)
    _, new = keys("--add")["signing"]
    both = read_keys(path, ORIGIN)
    note = sign(Checkpoint(ORIGIN, 2, bytes(32)), both.signers)
    assert [read(note, [VerifierKey.parse(key)]).size for key in (old, new)] == [2, 2]
    assert keys("--retire") == {"signing": [new], "retired": [old]}
    after = read_keys(path, ORIGIN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read(old_note, after.trusted).size == 1
    with pytest.raises(NoteError):
        read(sign(Checkpoint(ORIGIN, 3, bytes(32)), after.signers), [VerifierKey.parse(old)])
    assert "PRIVATE" not in json.dumps(keys())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no private key in it"),
        ("word\n", "line 1 is no key"),
        ("PRIVATE+KEY+name+00000000+AAAA\n", "line 1 is no key"),
    ],
)
def test_a_file_without_good_keys_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(OperatorError, match=f"FOG_CHECKPOINT_KEY_FILE .*: {why}"):
        read_keys(path, ORIGIN)


def test_a_private_key_goes_through_its_line(tmp_path: Path) -> None:
    (signer,) = read_keys(tmp_path / "keys", ORIGIN).signers
    assert Signer.parse(signer.text).verifier == signer.verifier

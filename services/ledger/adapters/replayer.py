"""A process that replays commits which it is handed: `python -m services.ledger.adapters.replayer`.

It reads requests from its standard input and answers each on its standard output. It opens nothing
and knows no secret; when the ledger is gone its input ends, and so does it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import BinaryIO

from fogbank.codec import CodecError, decode_commit
from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState, StateDiffersError
from fogbank.domain.ids import digest
from fogbank.domain.rederived import Span
from fogbank.domain.snapshots import Snapshot, SnapshotRefusedError, restored
from fogbank.placement import ENGINE
from fogbank.placement.rederive import SpanRederiver
from fogbank.placement.what_if import Comparison
from services.ledger.adapters import replay_messages as say
from services.ledger.adapters.past_views import shown_deployments, shown_nodes, shown_replicas
from services.ledger.app.records import Touched
from services.ledger.app.replays import KeptCommit
from services.ledger.core.alone import OwnEvents, Wanted

# Behind the ledger itself, which has a fleet to keep up with.
_NICENESS = 5


class Replayer:
    """Answers requests, one after the other."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._rederiver: SpanRederiver | None = None
        self._comparison: Comparison | None = None
        self._alone: OwnEvents | None = None

    def answer(self, request: say.Request) -> say.Answer:
        """Do what is asked."""
        match request:
            case say.Pieces():
                self._pieces += request.pieces
                return say.Taken()
            case say.BeginSpan():
                return self._begin_span(request)
            case say.Derive():
                return self._derive(request)
            case say.BeginComparison():
                return self._begin_comparison(request)
            case say.Compare():
                return self._compare(request)
            case say.BeginAlone():
                self._alone = OwnEvents()
                return say.Taken()
            case _:
                assert self._alone is not None  # noqa: S101  it was begun
                return _of_chosen(self._alone, request)

    def _begin_span(self, request: say.BeginSpan) -> say.Begun:
        fleet, refusal = self._begin_with(request.snapshot)
        span = _begun(request.span, fleet)
        self._rederiver = SpanRederiver(span, fleet)
        return say.Begun(span, refusal)

    def _begin_comparison(self, request: say.BeginComparison) -> say.Begun:
        # A state of its own for each of the two worlds.
        pieces = list(self._pieces)
        actual, refusal = self._begin_with(request.snapshot)
        self._pieces = pieces
        alternative, _ = self._begin_with(request.snapshot)
        span = _begun(request.span, actual)
        self._comparison = Comparison(span, request.policy, actual, alternative)
        return say.Begun(span, refusal)

    def _compare(self, request: say.Compare) -> say.Answer:
        assert self._comparison is not None  # noqa: S101  a comparison was begun
        try:
            return say.Compared(self._comparison.take(_decoded(request.commits)))
        except (CodecError, DamagedError, StateDiffersError) as error:
            return say.Failed(str(error))

    def _begin_with(self, head: say.SnapshotHead | None) -> tuple[FleetState | None, str]:
        """Return the state that a snapshot holds, or why it can't be used."""
        pieces, self._pieces = tuple(self._pieces), []
        if head is None:
            return None, ""
        snapshot = Snapshot(head.position, head.engine, head.structure, head.digest, pieces)
        try:
            return restored(snapshot, ENGINE), ""
        except SnapshotRefusedError as error:
            return None, str(error)

    def _derive(self, request: say.Derive) -> say.Answer:
        assert self._rederiver is not None  # noqa: S101  a span was begun
        try:
            return say.Derived(self._rederiver.take(_decoded(request.commits)))
        except (CodecError, DamagedError) as error:
            return say.Failed(str(error))


def _of_chosen(alone: OwnEvents, request: say.OfChosen) -> say.Answer:
    match request:
        case say.TakeAlone():
            try:
                alone.add(_events(request.touched, request.log_times_us))
            except (CodecError, DamagedError) as error:
                return say.Failed(str(error))
            return say.Taken()
        case say.ListNodesOf():
            return say.Named(alone.nodes_of(request.deployment_ids))
        case say.ShowAlone():
            standings = request.standings
            state = alone.state(Wanted(frozenset(each.deployment_id for each in standings)))
            views = shown_deployments(state, standings, alone.log_time_us, whole=request.whole)
            return say.ShownDeployments(tuple(views))
        case say.ListPlacedAlone():
            there = alone.state(Wanted(node_ids=frozenset([request.node_id])))
            return say.Named(tuple(sorted(there.deployments_on(request.node_id))))
        case say.ShowReplicasAlone():
            wanted = Wanted(frozenset(request.deployment_ids), frozenset([request.node_id]))
            there = alone.state(wanted)
            return say.ShownReplicas(tuple(shown_replicas(there, request.node_id)))
        case say.ShowNodesAlone():
            state = alone.state(Wanted())
            for node_id, taken in request.taken.items():
                state.expect_use(node_id, taken)
            return say.ShownNodes(tuple(shown_nodes(state)))


def _begun(span: Span, fleet: FleetState | None) -> Span:
    return replace(span, begun_after=fleet.position if fleet is not None else 0)


class DamagedError(Exception):
    """A commit's bytes aren't those whose digest was noted."""


def _events(
    touched: tuple[Touched, ...], log_times_us: dict[int, int]
) -> Iterator[tuple[Commit, tuple[int, ...]]]:
    """Yield commits, with the log time as the time of their writing, and indexes of events."""
    for each in touched:
        commit = _checked(each.commit, each.indexes)
        yield replace(commit, appended_at_us=log_times_us[commit.sequence]), each.indexes


def _decoded(commits: tuple[KeptCommit, ...]) -> Iterator[Commit]:
    return map(_checked, commits)


def _checked(kept: KeptCommit, only: Collection[int] | None = None) -> Commit:
    """Return a commit, of events that aren't among `only` the places."""
    try:
        commit = decode_commit(kept.sequence, kept.service, kept.instance, kept.data, only=only)
    except CodecError:
        _require_intact(kept, digest(kept.data))  # it is mended then, and no other release reads it
        raise
    _require_intact(kept, commit.digest)
    return commit


def _require_intact(kept: KeptCommit, computed: bytes) -> None:
    if computed != kept.digest:
        raise DamagedError(
            f"the ledger's copy of commit {kept.sequence} is damaged: its bytes have sha256 "
            f"{computed.hex()}, noted were {kept.digest.hex()}"
        )


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    replayer = Replayer()
    while length := requests.read(say.LENGTH_BYTES):
        data = requests.read(int.from_bytes(length, "big"))
        answers.write(say.framed(replayer.answer(say.request_of(data))))
        answers.flush()


def main() -> None:
    """Serve whoever started this process."""
    os.nice(_NICENESS)
    # What else is printed must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        serve(sys.stdin.buffer, answers)
    except BrokenPipeError:
        os._exit(0)  # the ledger is gone: nobody is left to answer


if __name__ == "__main__":
    main()

"""Snapshots: the folded state as of a round, for those who start and need not fold the whole log.

A snapshot is made of what a state digest is computed from, so the next round of the log carries its
digest: until then nobody knows whether the fleet agrees, and nobody keeps it or goes on with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from fogbank.domain.decisions import Decisions
from fogbank.domain.facts import Facts
from fogbank.domain.fleet import FleetState
from fogbank.domain.state_encoding import (
    StateEncodingError,
    decode_state,
    digest_of,
    structure_of,
)

# What a state is made up of in this release, the rules of folding included.
STRUCTURE = structure_of((Facts, Decisions))

_SHOWN = 12  # hexadecimal digits of a digest in a message


class SnapshotRefusedError(ValueError):
    """A snapshot that must not be used here: damaged, or another release's. Fold the log."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state right after the round at `position`; `digest` is that of the pieces.

    `engine` is that round's, `structure` that of the release that made the snapshot.
    """

    position: int
    engine: int
    structure: bytes
    digest: bytes
    pieces: tuple[bytes, ...]


def snapshot_of(fleet: FleetState) -> Snapshot | None:
    """Take away the pieces that a fold kept; None if it kept none since."""
    if not fleet.pieces:
        return None
    pieces, fleet.pieces = fleet.pieces, ()
    engine = fleet.decisions.engine
    return Snapshot(fleet.position, engine, STRUCTURE, fleet.due_digest, pieces)


def require_confirmed(fleet: FleetState) -> None:
    """Refuse a state that began with a snapshot and met no round with the digest of that.

    Who decides on it would write the digest of damage into a round, which all others must have.

    Raises:
        SnapshotRefusedError: none of the rounds folded since carried a digest.
    """
    if not fleet.confirmed_digest:
        raise SnapshotRefusedError("no round behind it has carried its digest")


def restored(snapshot: Snapshot, engine: int) -> FleetState:
    """Return the state that a snapshot holds.

    Raises:
        SnapshotRefusedError: it isn't what it says it is, or another release made it.
    """
    if snapshot.engine != engine:
        raise SnapshotRefusedError(
            f"it was made of rounds of engine {snapshot.engine}, this release has {engine}"
        )
    if snapshot.structure != STRUCTURE:
        raise SnapshotRefusedError("it was made by a release whose state is made up otherwise")
    found = digest_of(snapshot.pieces)
    if found != snapshot.digest:
        raise SnapshotRefusedError(
            f"its bytes have digest {found.hex()[:_SHOWN]}, noted is "
            f"{snapshot.digest.hex()[:_SHOWN]}"
        )
    fleet = FleetState()
    try:
        decode_state(fleet.parts, snapshot.pieces)
    except StateEncodingError as error:
        raise SnapshotRefusedError(str(error)) from error
    if fleet.decisions.prev_sequence != snapshot.position:
        raise SnapshotRefusedError(
            f"it says sequence {snapshot.position} and holds the state after the round at "
            f"{fleet.decisions.prev_sequence}"
        )
    fleet.stands_at(snapshot.position, snapshot.digest)
    return fleet

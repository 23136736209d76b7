"""What a ledger and its replaying processes say to each other over pipes.

Every message is its length in four bytes, the highest first, and so many bytes of MessagePack.
"""

from __future__ import annotations

import msgspec

from fogbank.domain.comparison import ComparedPart
from fogbank.domain.policy import Policy
from fogbank.domain.rederived import RederivedPart, Span
from fogbank.domain.views import DeploymentView, NodeView
from services.ledger.app.own_past import OwnedReplica
from services.ledger.app.records import Touched
from services.ledger.app.replays import KeptCommit
from services.ledger.app.standings import Standing
from services.ledger.core.alone import TakenRoom

LENGTH_BYTES = 4


class Pieces(msgspec.Struct, tag=True, frozen=True):
    """Some pieces of the snapshot to begin with; the next `BeginSpan` names it."""

    pieces: tuple[bytes, ...]


class SnapshotHead(msgspec.Struct, frozen=True):
    """A snapshot without its pieces."""

    position: int
    engine: int
    structure: bytes
    digest: bytes


class BeginSpan(msgspec.Struct, tag=True, frozen=True):
    """Get ready to derive a span's rounds; with a snapshot, if one is named and can be used."""

    span: Span
    snapshot: SnapshotHead | None = None


class Derive(msgspec.Struct, tag=True, frozen=True):
    """Take in the next commits and derive those of the span."""

    commits: tuple[KeptCommit, ...]


class BeginComparison(msgspec.Struct, tag=True, frozen=True):
    """Get ready to decide a span by another policy; with a snapshot as `BeginSpan`."""

    span: Span
    policy: Policy
    snapshot: SnapshotHead | None = None


class Compare(msgspec.Struct, tag=True, frozen=True):
    """Take in the next commits and decide those of the span by the other policy."""

    commits: tuple[KeptCommit, ...]


class BeginAlone(msgspec.Struct, tag=True, frozen=True):
    """Hold chosen events from now on; the next `TakeAlone` have them."""


class TakeAlone(msgspec.Struct, tag=True, frozen=True):
    """Take in chosen events; `log_times_us` are by sequence."""

    touched: tuple[Touched, ...]
    log_times_us: dict[int, int]


class ListNodesOf(msgspec.Struct, tag=True, frozen=True):
    """Name the nodes that some deployments were ever placed on, by the chosen events."""

    deployment_ids: tuple[str, ...]


class ShowAlone(msgspec.Struct, tag=True, frozen=True):
    """Show deployments of the chosen events; with their replicas and changes if `whole`."""

    standings: tuple[Standing, ...]
    whole: bool


class ShowNodesAlone(msgspec.Struct, tag=True, frozen=True):
    """Show the nodes of the chosen events, of which so much is taken, by their ids."""

    taken: dict[str, TakenRoom]


class ListPlacedAlone(msgspec.Struct, tag=True, frozen=True):
    """Name the deployments with a replica on a node that has not ended, by the chosen events."""

    node_id: str


class ShowReplicasAlone(msgspec.Struct, tag=True, frozen=True):
    """Show the replicas of some deployments on a node that have not ended."""

    node_id: str
    deployment_ids: tuple[str, ...]


class Named(msgspec.Struct, tag=True, frozen=True):
    """Some ids."""

    ids: tuple[str, ...]


class Taken(msgspec.Struct, tag=True, frozen=True):
    """It was done."""


class ShownDeployments(msgspec.Struct, tag=True, frozen=True):
    """Deployments as queries show them."""

    views: tuple[DeploymentView, ...]


class ShownReplicas(msgspec.Struct, tag=True, frozen=True):
    """Replicas on a node."""

    replicas: tuple[OwnedReplica, ...]


class ShownNodes(msgspec.Struct, tag=True, frozen=True):
    """Nodes as queries show them."""

    views: tuple[NodeView, ...]


class Begun(msgspec.Struct, tag=True, frozen=True):
    """The span that can be derived now, and why the snapshot isn't used, if it isn't."""

    span: Span
    refusal: str = ""


class Derived(msgspec.Struct, tag=True, frozen=True):
    """What came of the commits."""

    part: RederivedPart


class Compared(msgspec.Struct, tag=True, frozen=True):
    """What came of the commits under either policy."""

    part: ComparedPart


class Failed(msgspec.Struct, tag=True, frozen=True):
    """It can't be done, for a reason to tell; more of the same is of no use."""

    why: str


# What is asked of chosen events.
OfChosen = (
    TakeAlone | ListNodesOf | ShowAlone | ShowNodesAlone | ListPlacedAlone | ShowReplicasAlone
)
Request = Pieces | BeginSpan | Derive | BeginComparison | Compare | BeginAlone | OfChosen
Shown = ShownDeployments | ShownNodes | ShownReplicas
Answer = Taken | Begun | Derived | Compared | Named | Shown | Failed

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def framed(message: Request | Answer) -> bytes:
    """Return a message as it goes through a pipe."""
    data = _encoder.encode(message)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def request_of(data: bytes) -> Request:
    """Return the request that bytes hold, without their length."""
    return _requests.decode(data)


def answer_of(data: bytes) -> Answer:
    """Return the answer that bytes hold, without their length."""
    return _answers.decode(data)

"""What the gateway's use cases need from outside: the log, the ledger, the scheduler, secrets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from fogbank.domain.cluster_status import ClusterStatus
from fogbank.domain.comparison import ComparedPart
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.explanations import DeploymentExplanation, DeploymentPlan
from fogbank.domain.log_evidence import CommitProof, LogScrub, SignedLog, VerifiedPart
from fogbank.domain.policy import Policy
from fogbank.domain.rebalancing import RebalancePlan, RebalanceTerms
from fogbank.domain.rederived import RederivedPart
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import StatusChange
from fogbank.domain.tenancy import MembershipRole
from fogbank.domain.views import (
    AsOf,
    DeploymentView,
    Moment,
    NodeReplica,
    NodeView,
    Page,
    StatusRecord,
)
from fogbank.log.port import StoredCommit
from services.gateway.core.agent_messages import NodeCertificate
from services.gateway.core.touching import Kind


class CommitAppender(Protocol):
    """The writer's gate to the log (`fogbank.log.group_commit.GroupCommit`)."""

    @property
    def is_open(self) -> bool:
        """Whether appends are taken; False while the outcome of a commit is unknown."""

    async def append(self, envelopes: Sequence[EventEnvelope]) -> tuple[int, int]:
        """Append events side by side; return the commit's sequence and the first one's index.

        Raises:
            UnavailableError: not confirmed; it may still happen.
            ResourceExhaustedError: too much waits already.
            InvalidArgumentError: too large for one commit.
        """


class NodeAuthority(Protocol):
    """Signs certificates of nodes."""

    @property
    def fingerprint(self) -> bytes:
        """The SHA-256 of the authority's certificate, by which agents know it."""

    def key_digest(self, request_der: bytes) -> bytes:
        """Return the SHA-256 of the key that a request (PKCS#10, DER) was signed with.

        Raises:
            InvalidArgumentError: it is no such request.
        """

    def sign(self, node_id: str, request_der: bytes) -> NodeCertificate:
        """Return a certificate by which a request's key speaks for a node.

        Raises:
            InvalidArgumentError: it is no such request.
        """


class TokenSecrets(Protocol):
    """The secrets of join tokens."""

    def secret(self, token_id: str) -> bytes:
        """Return a token's secret, 32 bytes, the same each time."""


class DeploymentSort(StrEnum):
    """What a list is sorted by; ties go by id."""

    CREATED_AT = "created_at"
    NAME = "name"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class DeploymentQuery:
    """Which deployments to list, and how; instants of 0 and empty values stand for any.

    No statuses means all but DELETED. `limit` is 1 to 1,000. Without `all_owners` (administrators
    only) a caller gets their own. With a `moment` they are shown as they were.
    """

    statuses: tuple[DeploymentStatus, ...] = ()
    name_contains: str = ""
    created_after_us: int = 0
    created_before_us: int = 0
    cluster_id: int = 0
    sort_by: DeploymentSort = DeploymentSort.CREATED_AT
    ascending: bool = False
    limit: int = 100
    offset: int = 0
    all_owners: bool = False
    min_sequence: int = 0
    moment: Moment | None = None


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """How far the ledger's projection is: log sequences, and commits kept as bytes."""

    as_of_sequence: int
    log_sequence: int
    commits_kept: int
    scrub: LogScrub = field(default_factory=LogScrub)


class LedgerQueries(Protocol):
    """Answers from the ledger's projection, each with the sequence it is true for.

    All wait until `min_sequence` is projected, and raise UnavailableError when the ledger does not
    answer or does not get that far in time. With a past `moment` all is as it was then;
    InvalidArgumentError if the log has none such.
    """

    async def deployment(
        self,
        deployment_id: str,
        owner_id: str = "",
        min_sequence: int = 0,
        moment: Moment | None = None,
    ) -> AsOf[DeploymentView]:
        """Return one deployment; NotFoundError if there is none, or not of that owner."""

    async def deployments(
        self, query: DeploymentQuery, owner_id: str = ""
    ) -> AsOf[Page[DeploymentView]]:
        """Return a page of deployments, an owner's only or (empty) everybody's."""

    async def node(
        self, node: str, min_sequence: int = 0, moment: Moment | None = None
    ) -> AsOf[NodeView]:
        """Return a node by id or name; NotFoundError if there is none."""

    async def nodes(
        self, limit: int, offset: int, min_sequence: int = 0, moment: Moment | None = None
    ) -> AsOf[Page[NodeView]]:
        """Return a page of nodes, by name; `limit` is 1 to 1,000."""

    async def node_replicas(
        self, node: str, owner_id: str, moment: Moment
    ) -> AsOf[Page[NodeReplica]]:
        """Return what was on a node, listed an owner's only or (empty) everybody's, counted all."""

    async def cluster_status(
        self, cluster_id: int, moment: Moment, min_sequence: int = 0
    ) -> AsOf[ClusterStatus]:
        """Return how much of a cluster was used; NotFoundError if there was none then."""

    async def status(self) -> LedgerStatus:
        """Return how far the projection is."""


class LedgerStatuses(Protocol):
    """Statuses and their history as the ledger keeps them.

    UnavailableError when it does not answer, other kinds of FogError when it can't.
    """

    def statuses(self) -> AsyncGenerator[AsOf[tuple[StatusRecord, ...]]]:
        """Yield the status of every deployment so far, in parts, all as of one sequence."""

    def changes(self, after: int, upto: int) -> AsyncGenerator[tuple[list[StatusChange], int]]:
        """Yield the changes of status after a commit up to another one, in the log's order.

        Each item is some changes, and the sequence up to which they are complete.
        """


class LedgerReplays(Protocol):
    """The log replayed by the ledger; UnavailableError when it does not answer."""

    def rederive(self, first: int, last: int) -> AsyncGenerator[RederivedPart]:
        """Derive the rounds from `first` (0: the start) to `last` (0: the end) again.

        Raises:
            InvalidArgumentError: there are no such commits.
            FailedPreconditionError: one of them can't be read.
        """

    def compare(self, policy: Policy, first: int, last: int) -> AsyncGenerator[ComparedPart]:
        """Decide the rounds of the commits `first` to `last`, as above, by another policy.

        Raises: as `rederive`.
        """


class LedgerEvidence(Protocol):
    """Evidence that the log was not changed; UnavailableError when the ledger does not answer."""

    def verify_log(self, first: int, last: int) -> AsyncGenerator[VerifiedPart]:
        """Compare the commits from `first` (0: the start) to `last` (0: the end).

        Raises:
            InvalidArgumentError: there are no such commits.
        """

    async def signed_log(self, *, fresh: bool = False) -> SignedLog:
        """Return the checkpoint of the log that was signed last, or a fresh one.

        Raises:
            FailedPreconditionError: nothing is signed there.
        """

    async def scrub(self) -> LogScrub:
        """Return what the last scrub of the log and its copy came to."""

    async def prove(self, sequence: int) -> CommitProof:
        """Prove that a commit is in the log.

        Raises:
            InvalidArgumentError: there is no such commit.
            FailedPreconditionError: nothing is signed there.
        """


@dataclass(frozen=True, slots=True)
class Recorded:
    """A commit that may touch a thing, and the indexes of the events that do; None for any.

    `void` are the indexes of those that are known to have come to nothing. Without `stored` it only
    says that nothing else up to `sequence` does.
    """

    sequence: int
    stored: StoredCommit | None = None
    indexes: Collection[int] | None = None
    void: Collection[int] = ()


class LedgerRecords(Protocol):
    """The commits that touch one thing, by the ledger's index."""

    def record(self, kind: Kind, id_: str, after: int, upto: int) -> AsyncGenerator[Recorded]:
        """Yield a thing's commits after a sequence up to another, in order.

        Raises:
            UnavailableError: the ledger does not answer.
            DeadlineExceededError: it is too far behind.
        """


class LedgerAudits(LedgerReplays, LedgerEvidence, LedgerRecords, Protocol):
    """What the ledger does for those who audit."""


@dataclass(frozen=True, slots=True)
class SchedulerStatus:
    """What a scheduler does; `pending` counts deployments by queue.

    `leader` is the instance that wrote the last round that counts, empty before the first.
    """

    instance: str
    as_of_sequence: int
    pending: Mapping[str, int] = field(default_factory=dict)
    placed_total: int = 0
    failed_total: int = 0
    rounds_accepted: int = 0
    rounds_void: int = 0
    policy: str = ""
    nodes_heard: int = 0
    leader: str = ""


class SchedulerQueries(Protocol):
    """Answers from the scheduler's live state; UnavailableError when it does not answer.

    Plans and explanations raise ResourceExhaustedError where too many want them.
    """

    async def status(self) -> SchedulerStatus:
        """Return what it does."""

    async def plan(self, spec: DeploymentSpec, min_sequence: int = 0) -> AsOf[DeploymentPlan]:
        """Return what a deployment would lead to, once `min_sequence` is folded."""

    async def plan_rebalance(
        self, terms: RebalanceTerms, min_sequence: int = 0
    ) -> AsOf[RebalancePlan]:
        """Return which replicas a rebalance would move, once `min_sequence` is folded."""

    async def explain(
        self, deployment_id: str, min_sequence: int = 0
    ) -> AsOf[DeploymentExplanation]:
        """Return why a deployment is where it is; NotFoundError if there is none."""


class SealedEnvironments(Protocol):
    """Keeps the environments of containers sealed, outside the log."""

    def key(self, env: Mapping[str, str]) -> str:
        """Return what an environment would be kept under, empty for an empty one; keep nothing.

        It is the same for the same content.
        """

    async def seal(self, env: Mapping[str, str]) -> str:
        """Keep an environment and return its key.

        It is durable when this returns. UnavailableError when it cannot be kept.
        """

    async def unseal(self, keys: Collection[str]) -> dict[str, dict[str, str]]:
        """Return the environments of those keys that are known and whole.

        UnavailableError when they cannot be read.
        """


class ForgettableEnvironments(Protocol):
    """Sealed environments of which some are needed no more."""

    async def forget_unused(self, needed: Collection[str], unused_for_s: float) -> int:
        """Delete those that aren't needed and were not asked for lately; return how many.

        UnavailableError when they cannot be reached.
        """


class OrganizationKey(NamedTuple):
    """An organization's number and who made it: the number alone could be another log's."""

    id: int
    owner_id: str


@dataclass(frozen=True, slots=True)
class InviteTerms:
    """The limits of an invite code, and the role it gives; 0 stands for no limit."""

    role: MembershipRole = MembershipRole.OPERATOR
    expires_at_us: int = 0
    max_uses: int = 0


@dataclass(frozen=True, slots=True)
class Invite:
    """An invite code as it is kept; an empty code is one that was revoked or never made."""

    code: str
    terms: InviteTerms = InviteTerms()
    uses: int = 0


@dataclass(frozen=True, slots=True)
class Invited:
    """Where an invite code leads."""

    organization: OrganizationKey
    role: MembershipRole


class Invites(Protocol):
    """Keeps the invite codes of organizations sealed, outside the log; one for each of them.

    Methods raise UnavailableError when they can't be read or kept.
    """

    def mark(self, code: str) -> str:
        """Return what stands for a code where the code must not: the same for the same code."""

    async def of(self, organizations: Collection[OrganizationKey]) -> dict[int, Invite]:
        """Return the codes of organizations, by number, of those that have or had one."""

    async def made(self, organization: OrganizationKey) -> None:
        """Make a code for an organization, unless it has or had one."""

    async def renew(
        self, organization: OrganizationKey, terms: InviteTerms | None, request: str
    ) -> Invite:
        """Replace a code, or (without terms) revoke it; its uses are forgotten.

        The same `request` as the last time changes nothing.
        """

    async def find(self, code: str, now_us: int) -> Invited | None:
        """Return where a code leads, None if it doesn't work (any more)."""

    async def redeem(self, code: str, user_id: str, now_us: int) -> Invited | None:
        """Note a use, once for each user; None if the code doesn't work (any more)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A node was heard of: when (microseconds since 1970), in which epoch, with which load.

    `number` is that of a heartbeat that wants an answer, else 0.
    """

    node_id: str
    epoch: int
    received_at_us: int
    cpu_percent: float
    memory_percent: float
    number: int = 0


@dataclass(frozen=True, slots=True)
class HeardHeartbeat:
    """A scheduler heard the heartbeat of this number."""

    node_id: str
    epoch: int
    number: int


class TelemetryPublisher(Protocol):
    """Tells the schedulers that a node lives. Not stored, and lost when nobody listens."""

    async def publish(self, heard: Heard) -> None:
        """Send it on; never raises, because the next heartbeat makes up for a lost one."""

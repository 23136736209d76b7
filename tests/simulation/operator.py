"""Who makes clusters, limits them anew and asks for rebalances; repeats what was not answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from fogbank.domain.errors import FogError, ResourceExhaustedError, UnavailableError
from fogbank.domain.rebalancing import RebalanceTerms
from fogbank.domain.tenancy import UNLIMITED, Quota
from fogbank.v1 import facts_pb2, log_pb2
from services.gateway.app.clusters import Clusters
from services.gateway.app.organizations import Organizations
from services.gateway.app.principal import Principal, Role
from services.gateway.app.rebalances import Rebalances
from services.gateway.core.tenancy import QuotaWords
from tests.simulation.actors import Cluster, GatewayActor
from tests.simulation.loop import pause
from tests.simulation.plan import Plan
from tests.simulation.sharing import Step, a_quota, some_terms

_NAME = "operator"
_TRIES = 6
_LAST_TRIES = 60
_WORDS = QuotaWords({})
_UNANSWERED = (UnavailableError, ResourceExhaustedError, TimeoutError)


@dataclass(frozen=True, slots=True)
class _Wish:
    """Something to ask of any gateway, and what to do with the answer."""

    what: str
    ask: Callable[[GatewayActor, str], Awaitable[Any]]
    take: Callable[[Any], None]
    request_id: str


class Operator:
    """An administrator; one command at a time.

    `told` are the quotas that the log must hold in the end, by "cluster 1" and the like; those of
    which a command was never answered are not among them.
    """

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._plan = plan
        self._sharing = plan.sharing
        self._random = cluster.world.chance(_NAME)
        user_id = str(UUID(int=self._random.getrandbits(128), version=4))
        self._principal = Principal(user_id, Role.ADMIN)
        self._open: list[_Wish] = []
        self._organizations = [1]
        self.told: dict[str, Quota] = {}
        self._limits: Counter[str] = Counter()

    async def run(self) -> None:
        """Make the clusters, then do what the plan says."""
        if self._sharing is None:
            return
        if 2 in self._sharing.organizations:
            await self._make_organization()
        made = zip(self._sharing.organizations, self._sharing.quotas, strict=True)
        for number, (organization_id, quota) in enumerate(made):
            if organization_id in self._organizations:
                await self._make_cluster(f"cluster-{number}", organization_id, quota)
        for step in self._sharing.steps:
            await pause(max(0.0, step.at_s - self._world.loop.time()))
            await self._take(step)

    async def finish(self) -> None:
        """Repeat what is open; lift all quotas if this run does."""
        if self._sharing is None:
            return
        wishes, self._open = self._open, []
        for wish in wishes:
            await self._insist(wish, _LAST_TRIES)
        if self._sharing.lifted:
            for cluster_id in self._cluster.cluster_ids:
                await self._limit_cluster(cluster_id, UNLIMITED, _LAST_TRIES)
            for organization_id in self._organizations:
                await self._limit_organization(organization_id, UNLIMITED, _LAST_TRIES)
        if self._sharing.last is not None:
            await self._rebalance(self._sharing.last, _LAST_TRIES)
        for wish in self._open:
            self._world.problem(f"{_NAME}: {wish.what} is never answered")

    def forgotten(self) -> list[str]:
        """Compare the quotas that were acknowledged last with what the log's bytes say."""
        held = _quotas(self._cluster)
        return [
            f"{_NAME}: {owner} was given {quota}, and has {held.get(owner)} in the log"
            for owner, quota in self.told.items()
            if held.get(owner) != asdict(quota)
        ]

    # --- wishes -------------------------------------------------------------------------------

    async def _take(self, step: Step) -> None:
        assert self._sharing is not None
        random = self._world.chance(f"{_NAME}/{step.pick}")
        if step.kind == "rebalance":
            await self._rebalance(some_terms(random), _TRIES)
            return
        quota = a_quota(random, self._sharing.room)
        if step.kind == "cluster":
            await self._limit_cluster(random.choice(self._cluster.cluster_ids), quota, _TRIES)
        else:
            await self._limit_organization(random.choice(self._organizations), quota, _TRIES)

    async def _make_organization(self) -> None:
        await self._insist(
            self._wish(
                "a second organization",
                lambda at, asked: _organizations(at).create(self._principal, "second", asked),
                lambda made: self._organizations.append(made.id),
            ),
            _TRIES,
        )

    async def _make_cluster(self, name: str, organization_id: int, quota: Quota) -> None:
        def made(cluster: Any) -> None:
            self._cluster.cluster_ids.append(cluster.id)
            self.told[f"cluster {cluster.id}"] = quota

        await self._insist(
            self._wish(
                f"a cluster with {quota}",
                lambda at, asked: _clusters(at).create(
                    self._principal, organization_id, name, quota, words=_WORDS, request_id=asked
                ),
                made,
            ),
            _TRIES,
        )

    async def _limit_cluster(self, cluster_id: int, quota: Quota, tries: int) -> None:
        await self._limit(
            f"cluster {cluster_id}",
            quota,
            tries,
            lambda at, asked: _clusters(at).set_quota(
                self._principal, cluster_id, quota, words=_WORDS, request_id=asked
            ),
        )

    async def _limit_organization(self, organization_id: int, quota: Quota, tries: int) -> None:
        await self._limit(
            f"organization {organization_id}",
            quota,
            tries,
            lambda at, asked: _organizations(at).set_quota(
                self._principal, organization_id, quota, words=_WORDS, request_id=asked
            ),
        )

    async def _limit(
        self,
        owner: str,
        quota: Quota,
        tries: int,
        ask: Callable[[GatewayActor, str], Awaitable[Any]],
    ) -> None:
        # Until it is answered nobody knows which one the log holds last; nor if another came after
        # it meanwhile, for what is repeated then may have been in the log long before that.
        self.told.pop(owner, None)
        self._limits[owner] += 1
        mine = self._limits[owner]

        def taken(_: Any) -> None:
            if mine == self._limits[owner] and not any(owner in each.what for each in self._open):
                self.told[owner] = quota

        await self._insist(self._wish(f"{quota} for {owner}", ask, taken), tries)

    async def _rebalance(self, terms: RebalanceTerms, tries: int) -> None:
        await self._insist(
            self._wish(
                f"a rebalance of {terms}",
                lambda at, asked: _rebalances(at).apply(self._principal, terms, asked),
                lambda _: None,
            ),
            tries,
        )

    # --- asking -------------------------------------------------------------------------------

    def _wish(
        self,
        what: str,
        ask: Callable[[GatewayActor, str], Awaitable[Any]],
        take: Callable[[Any], None],
    ) -> _Wish:
        request_id = str(UUID(int=self._random.getrandbits(128), version=4))
        return _Wish(what, ask, take, request_id)

    async def _insist(self, wish: _Wish, tries: int) -> None:
        """Ask until there is an answer; what has none stays open."""
        for _ in range(tries):
            gateway = self._random.choice(self._cluster.gateways)

            async def asked(at: GatewayActor) -> Any:
                return await wish.ask(at, wish.request_id)

            try:
                answer = await gateway.call(asked, _NAME)
            except _UNANSWERED as error:
                self._world.tell(_NAME, f"{wish.what}: {type(error).__name__}")
                await pause(self._random.uniform(0.2, 2.0))
            except FogError as error:
                self._world.problem(f"{_NAME}: {wish.what} is refused: {error!r}")
                return
            else:
                self._world.tell(_NAME, f"has {wish.what}")
                wish.take(answer)
                return
        self._open.append(wish)


def _quotas(cluster: Cluster) -> dict[str, dict[str, int | None]]:
    """Return the last quota of each owner in the log; of each command the first counts."""
    quotas: dict[str, dict[str, int | None]] = {}
    seen: set[str] = set()
    clusters = 0
    for stored in cluster.broker.commits:
        for envelope in log_pb2.Commit.FromString(stored.data).events:
            kind = _KINDS.get(envelope.type)
            if kind is None or envelope.event_id in seen:
                continue
            seen.add(envelope.event_id)
            message = kind.FromString(envelope.payload)
            if kind is facts_pb2.OrganizationQuotaSet:
                owner = f"organization {message.organization_id}"
            elif kind is facts_pb2.ClusterQuotaSet:
                owner = f"cluster {message.cluster_id}"
            else:
                clusters += 1
                owner = f"cluster {clusters}"
            given = {known.name: limit for known, limit in message.quota.ListFields()}
            fields = message.quota.DESCRIPTOR.fields
            quotas[owner] = {known.name: given.get(known.name) for known in fields}
    return quotas


_KINDS: dict[str, Any] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        facts_pb2.ClusterCreated,
        facts_pb2.ClusterQuotaSet,
        facts_pb2.OrganizationQuotaSet,
    )
}


class _NoInvites:
    """Nobody is invited here: whoever asks is an administrator."""

    async def of(self, organizations: Collection[Any]) -> dict[int, Any]:
        return {}

    async def made(self, organization: Any) -> None:
        pass


_NEVER: Any = None
_NO_INVITES: Any = _NoInvites()


def _clusters(at: GatewayActor) -> Clusters:
    assert at.fold is not None
    assert at.command_log is not None
    return Clusters(at.fold, at.command_log, _NEVER, at.clock)


def _organizations(at: GatewayActor) -> Organizations:
    assert at.fold is not None
    assert at.command_log is not None
    return Organizations(at.fold, at.command_log, _NEVER, _NO_INVITES, at.clock)


def _rebalances(at: GatewayActor) -> Rebalances:
    assert at.fold is not None
    assert at.command_log is not None
    return Rebalances(at.fold, at.command_log, _NEVER, at.clock)

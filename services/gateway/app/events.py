"""The log as its readers outside may see it: commit by commit, to each what is theirs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice

from fogbank.domain import events as ev
from fogbank.domain.envelope import Commit
from fogbank.domain.errors import NotFoundError
from fogbank.domain.ids import canonical_uuid
from fogbank.domain.tenancy import MembershipRole
from fogbank.log.follower import read_commits
from fogbank.log.port import EventLog
from services.gateway.app.fold import FleetFold
from services.gateway.app.identity import Users, could_be_named, name_key
from services.gateway.app.ports import LedgerQueries
from services.gateway.app.principal import Principal
from services.gateway.app.rights import own_role
from services.gateway.core.own_parts import OwnParts
from services.gateway.core.touching import (
    Kind,
    Touching,
    parse_thing,
    placed_ever,
    placed_in_all,
    replica_called,
    touching,
)

# Who was shown nothing of so many commits is told how far they were read.
STRETCH_COMMITS = 1_000

_KEPT_COMMITS = 500
_COMMITS_AT_ONCE = 100
_IDS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Seen:
    """A commit with the events that the reader may see, perhaps none.

    Each event comes with its index in the commit; all up to `commit.sequence` was told.
    """

    commit: Commit
    indexes: tuple[int, ...]
    events: tuple[ev.Event | None, ...]


class Events:
    """Follows the log for readers outside. The latest commits stay in memory for all of them."""

    def __init__(self, fold: FleetFold, log: EventLog, ledger: LedgerQueries, users: Users) -> None:
        """Follow `log`; the `ledger` knows of deployments that the fold has forgotten."""
        self._fold = fold
        self._log = log
        self._ledger = ledger
        self._users = users
        self._kept: deque[Commit] = deque(maxlen=_KEPT_COMMITS)
        self._kept_to = 0
        self._reading = asyncio.Lock()

    @property
    def position(self) -> int:
        """The log sequence up to which this gateway has read."""
        return self._fold.position

    async def check_reached(self, sequence: int, field: str) -> None:
        """See that the log goes as far as a sequence that somebody wants to go on after.

        Raises: as `FleetFold.check_reached`.
        """
        await self._fold.check_reached(sequence, field)

    async def after(self, cursor: int) -> list[Commit]:
        """Wait for commits after a sequence; return the next, in order, without gaps.

        Raises:
            LogUnavailableError: the log does not answer.
        """
        await self._fold.advance(cursor)
        return await self._commits_after(cursor, self._fold.position)

    async def follow(self, principal: Principal, after_sequence: int) -> AsyncIterator[Seen]:
        """Yield every commit after a sequence for ever, in order, without gaps.

        Administrators see all events; others the commands on their own deployments, and of rounds
        and reports the parts about those.

        Raises:
            LogUnavailableError: the log does not answer.
        """
        cursor = after_sequence
        while True:
            for commit in await self.after(cursor):
                yield self.seen(principal, commit)
                cursor = commit.sequence

    async def _commits_after(self, cursor: int, last: int) -> list[Commit]:
        """Return the next commits after `cursor`, at least one, not necessarily all to `last`."""
        some = min(last, cursor + _COMMITS_AT_ONCE)
        if last - cursor > _KEPT_COMMITS:
            return await self._read(cursor + 1, some)
        async with self._reading:
            await self._keep_up(cursor, last)
        if self._kept[0].sequence > cursor + 1:
            return await self._read(cursor + 1, some)
        start = cursor + 1 - self._kept[0].sequence
        return list(islice(self._kept, start, start + _COMMITS_AT_ONCE))

    async def _keep_up(self, cursor: int, last: int) -> None:
        """Keep the commits up to `last`; those before `cursor` only if they are kept already."""
        if self._kept_to >= last:
            return
        if last - self._kept_to > _KEPT_COMMITS:
            self._kept.clear()
        first = (self._kept_to if self._kept else cursor) + 1
        self._kept += await self._read(first, last)
        self._kept_to = last

    async def _read(self, first: int, last: int) -> list[Commit]:
        return [commit async for batch in read_commits(self._log, first, last) for commit in batch]

    def seen(self, principal: Principal, commit: Commit, record_of: Touching | None = None) -> Seen:
        """Return a commit with what of it a caller may see.

        `record_of` is what the caller may read the record of, forgotten by the fleet or not.
        """
        if principal.sees_all:
            events = tuple(envelope.event for envelope in commit.envelopes)
            return Seen(commit, tuple(range(len(events))), events)
        parts = OwnParts(self._fold.fleet, principal.user_id, record_of)
        own = [
            (index, part)
            for index, envelope in enumerate(commit.envelopes)
            if (part := parts.of(envelope.event))
        ]
        return Seen(commit, tuple(index for index, _ in own), tuple(part for _, part in own))

    async def touching(self, principal: Principal, thing: str) -> tuple[Touching, str]:
        """Return what follows a thing through the log, and the id of whose record it is part of.

        Of a replica that is its deployment's.

        Raises:
            InvalidArgumentError: it names none.
            NotFoundError: there is and was none, or it isn't the caller's.
            UnavailableError: the fleet has no such deployment, and the ledger doesn't answer; of a
                user called by name, the database doesn't.
        """
        kind, called = parse_thing(thing)
        id_ = called
        if kind is Kind.REPLICA:
            id_ = replica_called(self._fold.fleet, id_)
        elif kind is Kind.USER:
            id_ = canonical_uuid(id_) or await self._user_called(principal, id_)
        found = touching(self._fold.fleet, kind, id_)
        asked_id = canonical_uuid(id_)
        if found is None and kind is Kind.REPLICA and asked_id:
            deployment_id = await self._who_had(principal, asked_id)
            if deployment_id:
                return Touching(kind, asked_id), deployment_id
        if found is None and kind is Kind.DEPLOYMENT and asked_id:
            owner_id = "" if principal.sees_all else principal.user_id
            view = (await self._ledger.deployment(asked_id, owner_id)).value
            return Touching(kind, asked_id, placed_in_all(view)), asked_id
        if found is None or not (principal.sees_all or self._may_see(principal, kind, id_)):
            raise NotFoundError.of(kind, called)
        if kind is Kind.REPLICA:
            return found, self._fold.fleet.decisions.placements[found.id].deployment_id
        return found, found.id

    async def _who_had(self, principal: Principal, replica_id: str) -> str:
        """Return the deployment of a replica that the fleet has forgotten; empty for none.

        Only among those that the caller may see: ids say whose they are to who makes them again.
        """
        decisions, made = self._fold.fleet.decisions, 0
        for deployment_id in list(decisions.remembered):
            decision = decisions.deployments.get(deployment_id)
            own = principal.sees_all or self._may_see(principal, Kind.DEPLOYMENT, deployment_id)
            for known in placed_ever(decision) if own and decision is not None else ():
                if known == replica_id:
                    return deployment_id
                made += 1
                if made % _IDS_AT_ONCE == 0:
                    await asyncio.sleep(0)
        return ""

    async def _user_called(self, principal: Principal, name: str) -> str:
        """Return the id of the user of a name; empty for none.

        Who may see only themselves learns of nobody else whether they are there.
        """
        if not could_be_named(name):
            return ""
        key = name_key(name)
        if principal.sees_all:
            user = await self._users.by_name_key(key)
            return user.id if user is not None else ""
        names = await self._users.names([principal.user_id])
        return next((id_ for id_, own in names.items() if name_key(own) == key), "")

    def _may_see(self, principal: Principal, kind: Kind, id_: str) -> bool:
        match kind:
            case Kind.DEPLOYMENT:
                return self._fold.owner_of(id_.lower()) == principal.user_id
            case Kind.REPLICA:
                placed = self._fold.fleet.decisions.placements.get(id_)
                if placed is None:
                    return False
                return self._fold.owner_of(placed.deployment_id) == principal.user_id
            case Kind.NODE:
                return True
            case Kind.USER:
                return id_.lower() == principal.user_id
            case Kind.CLUSTER:
                cluster = self._fold.fleet.facts.clusters[int(id_)]
                return self._is_owner_of(principal, cluster.organization_id)
            case Kind.ORGANIZATION:
                return self._is_owner_of(principal, int(id_))

    def _is_owner_of(self, principal: Principal, organization_id: int) -> bool:
        organization = self._fold.fleet.facts.organizations[organization_id]
        return own_role(principal, organization) is MembershipRole.OWNER

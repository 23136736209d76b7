"""Fleets for the benches of the decision core, built from commits of many events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from random import Random

from fogbank.domain import events as ev
from fogbank.domain.decisions import Decisions
from fogbank.domain.deployment import Constraint, DeploymentSpec
from fogbank.domain.envelope import GATEWAY
from fogbank.domain.ids import replica_id
from fogbank.domain.resources import Resources
from fogbank.domain.states import ConstraintOperator
from fogbank.placement import Planner
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec, an_id

REGIONS = ("us-east", "us-central", "us-west")
SEED = 1
CPU, MEMORY, STORAGE = 64_000, 131_072, 10_000
_PER_COMMIT = 500
_FAST_DISKS = Constraint("label.disk", ConstraintOperator.EQUAL, ("ssd",))


class Bench:
    """A planner with its log."""

    def __init__(self, nodes: int, full_percent: int = 0) -> None:
        """Make a fleet; `full_percent` of each node's room is taken by one replica."""
        self.log = LittleLog()
        self.planner = Planner()
        self._names = 0
        self._connect(nodes)
        if full_percent:
            self._fill(full_percent)

    def _connect(self, nodes: int) -> None:
        chance = Random(SEED)
        hosts = (
            ev.NodeConnected(
                an_id(f"fog-{number}"),
                f"fog-{number}",
                a_fingerprint(
                    cpu=CPU,
                    memory=MEMORY,
                    storage=STORAGE,
                    region=chance.choice(REGIONS),
                    labels={"disk": chance.choice(("ssd", "hdd"))},
                ),
            )
            for number in range(nodes)
        )
        self.facts(hosts)

    def _fill(self, percent: int) -> None:
        room = Resources(CPU * percent // 100, MEMORY * percent // 100, STORAGE * percent // 100)
        filler = replace(a_spec("filler"), resources=room)
        outcomes = []
        for number, node_id in enumerate(list(self.planner.arrays.ids)):
            deployment_id = an_id(f"filler {number}")
            outcome = ev.DeploymentPlaced(
                deployment_id,
                0,
                filler.resources,
                (ev.Placement(replica_id(deployment_id, 0, 1), 0, 1, node_id, 0),),
            )
            outcomes.append(outcome)
        for first in range(0, len(outcomes), _PER_COMMIT):
            self._round(outcomes[first : first + _PER_COMMIT])

    def _round(self, outcomes: list[ev.DeploymentPlaced]) -> None:
        decisions: Decisions = self.planner.fleet.decisions
        event = ev.RoundDecided(
            decisions.prev_digest,
            self.planner.fleet.position,
            self.log.now_us,
            "filler@1",
            b"",
            0,
            _PER_COMMIT,
            outcomes=tuple(outcomes),
        )
        assert self.planner.fold(self.log.round(event)).verdicts[0].accepted

    def facts(self, events: Iterator[ev.Event]) -> None:
        """Take in facts, many in a commit."""
        while batch := list(islice(events, _PER_COMMIT)):
            envelopes = []
            for event in batch:
                self._names += 1
                envelopes.append(self.log.envelope(event, an_id(f"event {self._names}")))
            self.planner.fold(self.log.commit(GATEWAY, *envelopes))

    def deploy(self, specs: Sequence[DeploymentSpec]) -> None:
        """Take in deployments."""
        self.facts(ev.DeploymentCreated(spec, an_id("owner")) for spec in specs)


def asks(
    count: int, replicas: int, *, kinds: int = 24, constrained: bool = False
) -> list[DeploymentSpec]:
    """Return specs of several kinds: sizes drawn once, each in every region; in mixed order."""
    chance = Random(SEED)
    sizes = [
        (chance.randrange(50, 400), chance.randrange(64, 512)) for _ in range(max(kinds // 3, 1))
    ]
    return [
        a_spec(
            f"d{number}",
            replicas,
            cpu=cpu,
            memory=memory,
            storage=1,
            region=chance.choice(REGIONS),
            constraints=(_FAST_DISKS,) if constrained else (),
        )
        for number in range(count)
        for cpu, memory in (chance.choice(sizes),)
    ]

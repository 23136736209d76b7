"""Makes long logs for benchmarks: what a busy fleet's services write, in their order and bytes.

The facts follow a script, the rounds are decided by the real planner on them, so that every round
can be derived again and every reader of the log finds nothing amiss. Each step of a second of log
time has, in commits of at most 100 events: as many deployments created as there are on average
(three replicas each, some with regions and labels), the round that places them, what the nodes
report of these, changes of load at random nodes, now and then a scaling, as many deployments
deleted as were created once enough are there, the round that releases them, and the reports of
their end; every hundred steps one node falls silent for five steps and connects again.

By default some four fifths of the events are loads and reports. Which is which follows from the
seed alone: the same arguments give the same bytes.

    from bench.long_log import long_log
    for commit in long_log(1_000_000, nodes=1_000): ...

`python -m bench long_log --events 1000000 --file log.bin` keeps one, `read_log` reads it again.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from random import Random

import msgspec

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.envelope import GATEWAY, SCHEDULER, Commit, EventEnvelope
from fogbank.domain.ids import digest, report_event_id, round_event_id
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.policy import Policy
from fogbank.domain.states import Health, ReplicaState
from fogbank.log.port import StoredCommit, Writer
from fogbank.placement import Planner
from services.gateway.core.genesis import genesis
from tests.support.fleet_log import OWNER, START_US, a_fingerprint, a_spec, an_id

REPLICAS = 3
REGIONS = ("us-east", "us-central", "us-west")
_INSTANCE = "bench"
_PER_COMMIT = 100
_STEP_US = 1_000_000
# Every so many steps a node falls silent, for so many.
_SILENT_EVERY, _SILENT_STEPS = 100, 5
# In so many of the steps a deployment is scaled.
_SCALED = 0.3
# So many deployments live for each node, of three replicas each.
_ALIVE_PER_NODE = 4
# An aggregate and what happened to it.
_Fact = tuple[str, ev.Event]


class LongLog:
    """The fleet that writes the log; `commits` yields it for ever."""

    def __init__(self, nodes: int, created: int, loads: int, seed: int) -> None:
        """Begin a fleet of `nodes`; each step creates `created` and changes `loads`."""
        self.planner = Planner()
        self.events = 0
        self.deployments = 0
        self._chance = Random(seed)
        self._nodes = [an_id(f"node {number}") for number in range(nodes)]
        self._created, self._loads = created, loads
        self._reports = dict.fromkeys(self._nodes, 0)
        # What nodes have to say; those that are silent say it once they are back.
        self._unsaid: dict[str, list[ReplicaObservation]] = {}
        self._silent: dict[str, int] = {}
        self._alive: deque[str] = deque()
        self._sequence = 0
        self._now_us = START_US

    def commits(self) -> Iterator[StoredCommit]:
        """Yield the log's commits."""
        yield self._commit(GATEWAY, genesis("default", Policy(), self._now_us))
        yield from self._facts(self._connected(self._nodes))
        step = 0
        while True:
            step += 1
            self._now_us += _STEP_US
            yield from self._step(step)

    def _step(self, step: int) -> Iterator[StoredCommit]:
        back = [node for node, until in self._silent.items() if until <= step]
        for node in back:
            del self._silent[node]
        yield from self._facts([*self._connected(back), *self._wishes()])
        silence = self._silence(step) if step % _SILENT_EVERY == 0 else ()
        yield from self._rounds(silence)
        yield from self._facts(self._said())
        yield from self._facts(self._loaded())
        yield from self._facts(self._wanted_no_more())
        yield from self._rounds()
        yield from self._facts(self._said())

    # Facts.

    def _wishes(self) -> list[_Fact]:
        facts: list[_Fact] = []
        for number in range(self.deployments, self.deployments + self._created):
            deployment_id = an_id(f"deployment {number}")
            spec = a_spec(
                f"app-{number}",
                REPLICAS,
                cpu=self._chance.choice((100, 250, 500)),
                memory=self._chance.choice((128, 256, 512)),
                storage=1,
                region=self._chance.choice(("any", *REGIONS)),
                priority=self._chance.choice((25, 50, 75)),
            )
            facts.append((f"deployment/{deployment_id}", ev.DeploymentCreated(spec, OWNER)))
            self._alive.append(deployment_id)
        self.deployments += self._created
        return facts

    def _wanted_no_more(self) -> list[_Fact]:
        facts: list[_Fact] = []
        if self._chance.random() < _SCALED:
            scaled = self._chance.choice(self._alive)
            wanted = self._chance.choice((1, 2, 4))
            facts.append((f"deployment/{scaled}", ev.DeploymentScaled(scaled, wanted)))
        while len(self._alive) > _ALIVE_PER_NODE * len(self._nodes):
            deleted = self._alive.popleft()
            facts.append((f"deployment/{deleted}", ev.DeploymentDeleted(deleted)))
        return facts

    def _connected(self, nodes: Sequence[str]) -> list[_Fact]:
        facts: list[_Fact] = []
        for node in nodes:
            region = REGIONS[int(node[:8], 16) % len(REGIONS)]
            host = a_fingerprint(cpu=16_000, memory=32_768, region=region)
            facts.append((f"node/{node}", ev.NodeConnected(node, f"fog-{node[:8]}", host)))
        return facts

    def _loaded(self) -> list[_Fact]:
        facts: list[_Fact] = []
        for node in self._chance.choices(self._nodes, k=self._loads):
            if node not in self._silent:
                epoch = self.planner.fleet.facts.nodes[node].epoch
                cpu, memory = self._chance.randrange(70), self._chance.randrange(70)
                load = ev.NodeLoadChanged(node, epoch, cpu, memory, self._sequence)
                facts.append((f"node/{node}", load))
        return facts

    def _said(self) -> list[_Fact]:
        facts: list[_Fact] = []
        for node in [node for node in self._unsaid if node not in self._silent]:
            epoch = self.planner.fleet.facts.nodes[node].epoch
            self._reports[node] += 1
            said = tuple(self._unsaid.pop(node))
            report = ev.NodeReported(node, epoch, self._reports[node], said)
            facts.append((f"node/{node}", report))
        return facts

    def _facts(self, facts: Sequence[_Fact]) -> Iterator[StoredCommit]:
        for start in range(0, len(facts), _PER_COMMIT):
            yield self._commit(
                GATEWAY,
                [
                    self._envelope(aggregate, event, index)
                    for index, (aggregate, event) in enumerate(facts[start : start + _PER_COMMIT])
                ],
            )

    def _envelope(self, aggregate: str, event: ev.Event, index: int) -> EventEnvelope:
        match event:
            case ev.NodeReported():
                event_id = report_event_id(event.node_id, event.number, event.epoch)
            case ev.DeploymentCreated():
                event_id = aggregate.partition("/")[2]
            case _:
                event_id = an_id(f"{self._sequence}/{index}")
        actor = aggregate if aggregate.startswith("node/") else f"user/{OWNER}"
        return EventEnvelope(event_id, event, aggregate, actor, self._now_us)

    # Rounds.

    def _silence(self, step: int) -> tuple[ev.NodeSilence, ...]:
        node = self._chance.choice(self._nodes)
        if node in self._silent:
            return ()
        self._silent[node] = step + _SILENT_STEPS
        epoch = self.planner.fleet.facts.nodes[node].epoch
        return (ev.NodeSilence(node, epoch, self._now_us - 30 * _STEP_US),)

    def _rounds(self, silences: tuple[ev.NodeSilence, ...] = ()) -> Iterator[StoredCommit]:
        """Decide until nothing is left to be decided."""
        while True:
            decided = self.planner.decide(self._now_us, silences)
            silences = ()
            if decided is None:
                return
            for outcome in decided.event.outcomes:
                self._carry_out(outcome)
            event = decided.event
            envelope = EventEnvelope(
                round_event_id(event.prev_digest, _INSTANCE, event.instant_us),
                event,
                "fleet",
                f"scheduler/{_INSTANCE}",
                self._now_us,
                causes=decided.causes,
            )
            yield self._commit(SCHEDULER, [envelope])

    def _carry_out(self, outcome: ev.Outcome) -> None:
        match outcome:
            case ev.DeploymentPlaced():
                for placement in outcome.placements:
                    self._say(placement.node_id, placement.replica_id, ReplicaState.RUNNING)
                for eviction in outcome.evictions:
                    self._end(eviction.replica_ids)
            case ev.ReplicasReleased():
                self._end(outcome.replica_ids)
            case _:
                pass

    def _end(self, replica_ids: Sequence[str]) -> None:
        for replica_id in replica_ids:
            node = self.planner.fleet.decisions.placements[replica_id].node_id
            self._say(node, replica_id, ReplicaState.STOPPED)

    def _say(self, node: str, replica_id: str, state: ReplicaState) -> None:
        self._unsaid.setdefault(node, []).append(
            ReplicaObservation(
                replica_id,
                0,
                state,
                f"stub-container-{replica_id}",
                self._now_us,
                Health.HEALTHY if state is ReplicaState.RUNNING else Health.UNKNOWN,
                final=state is ReplicaState.STOPPED,
                observed_at_us=self._now_us,
            )
        )

    def _commit(self, service: str, envelopes: Sequence[EventEnvelope]) -> StoredCommit:
        self._sequence += 1
        data = encode_commit(self._now_us, [encode_envelope(each) for each in envelopes])
        self.planner.fold(
            Commit(self._sequence, service, _INSTANCE, digest(data), self._now_us, tuple(envelopes))
        )
        self.events += len(envelopes)
        return StoredCommit(self._sequence, Writer(service, _INSTANCE), data)


def long_log(
    events: int, *, nodes: int = 1_000, created: int = 50, loads: int = 150, seed: int = 1
) -> Iterator[StoredCommit]:
    """Yield a log of at least so many events; each step creates `created` deployments."""
    log = LongLog(nodes, created, loads, seed)
    for commit in log.commits():
        yield commit
        if log.events >= events:
            return


def write_log(path: Path, commits: Iterable[StoredCommit]) -> None:
    """Keep commits in a file: each its length in four bytes, the highest first, and MessagePack."""
    with path.open("wb") as file:
        for commit in commits:
            packed = msgspec.msgpack.encode((commit.writer.service, commit.data))
            file.write(len(packed).to_bytes(4, "big") + packed)


def read_log(path: Path) -> Iterator[StoredCommit]:
    """Yield the commits that `write_log` kept."""
    decoder = msgspec.msgpack.Decoder(tuple[str, bytes])
    with path.open("rb") as file:
        for sequence in count(1):
            if not (length := file.read(4)):
                return
            service, data = decoder.decode(file.read(int.from_bytes(length, "big")))
            yield StoredCommit(sequence, Writer(service, _INSTANCE), data)


def main(arguments: list[str] | None = None) -> None:
    """Make a log, say what is in it, and keep it if a file is named."""
    parser = argparse.ArgumentParser(prog="python -m bench.long_log", description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--file", type=Path, help="where to keep it")
    chosen = parser.parse_args(arguments)
    began_s = time.process_time()
    commits = list(long_log(chosen.events, nodes=chosen.nodes))
    took_s = time.process_time() - began_s
    rounds = sum(commit.writer.service == SCHEDULER for commit in commits)
    size = sum(len(commit.data) for commit in commits)
    print(
        f"{chosen.events:,} events in {len(commits):,} commits, {rounds:,} of them rounds, "
        f"{size / 1e6:.1f} MB, made in {took_s:.0f} s of CPU time"
    )
    if chosen.file is not None:
        write_log(chosen.file, commits)


if __name__ == "__main__":
    main()

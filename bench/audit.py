"""How fast a long log is read, checked, decided again and shown as it was.

The log is `bench.long_log`'s. It is put into a real broker, and projected by the real projector
into a real PostgreSQL; then, one after the other:

- read: the commits read from JetStream, as bytes, by the log's own reader: the floor of verifying;
- verify: the ledger's `VerifyLog`: log, copy, tree and digests compared commit by commit; the ratio
  is verify to read (aim: half);
- copy: `COPY` of the same commits, as bytes, into a table like the ledger's;
- project: the whole projection made anew from the log, as a ledger does whose database is lost; the
  ratio is project to copy (aim: a third);
- decide: every round derived again by the ledger's process from its copy (no floor but folding);
- one then: one deployment, drawn at random, at a random commit after its creation, from the index
  (aim: 95 of 100 within 200 ms);
- all then: all deployments and nodes at a random commit, from the newest snapshot before it.

Rates are events a second.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import asyncpg

from bench.long_log import long_log, read_log
from fogbank.domain.views import Moment
from fogbank.log.follower import decode
from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import NatsConnection, connect
from fogbank.log.port import EventLog, StoredCommit
from fogbank.log.stream import StreamName, StreamSettings, ensure_stream
from fogbank.runtime.garbage import spare_garbage_collection
from services.ledger.app.ports import DeploymentFilter
from services.ledger.app.queries import Wait
from tests.support.ledger import READER, Ledger, StoredLog, a_running_ledger, rows_of
from tests.support.nats import nats_server
from tests.support.postgres import postgres_server

_NAME = StreamName()
_SINGLE, _WHOLE = 200, 5
_COPIED_AT_ONCE = 50
_CREATED = "SELECT id::text, min(position) >> 16 AS at FROM touches WHERE kind = 1 GROUP BY id"


def figure(name: str, events: int, seconds: float, floor_s: float = 0) -> None:
    """Print a rate, and what part of its floor that is."""
    ratio = f", ratio {floor_s / seconds:.2f}" if floor_s else ""
    print(f"{name:<10} {seconds:>8.1f} s {events / seconds:>12,.0f} events/s{ratio}", flush=True)


async def reading(log: EventLog, last: int) -> float:
    """Return the seconds that reading the log takes."""
    began_s = time.perf_counter()
    seen = 0
    async for batch in log.read(1, last):
        seen += len(batch)
    assert seen == last, seen
    return time.perf_counter() - began_s


async def copying(url: str, commits: Sequence[StoredCommit]) -> float:
    """Return the seconds that COPY takes for the commits, in transactions."""
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    await connection.execute(
        "CREATE TABLE floor_commits (sequence bigint PRIMARY KEY, service text, instance text, "
        "digest bytea, data bytea)"
    )
    rows = [(c.sequence, c.writer.service, c.writer.instance, c.digest, c.data) for c in commits]
    began_s = time.perf_counter()
    for start in range(0, len(rows), _COPIED_AT_ONCE):
        await connection.copy_records_to_table(
            "floor_commits", records=rows[start : start + _COPIED_AT_ONCE]
        )
    took_s = time.perf_counter() - began_s
    await connection.execute("DROP TABLE floor_commits")
    await connection.close()
    return took_s


@dataclass
class BrokerLog(StoredLog):
    """The log in a broker."""

    connection: NatsConnection | None = None

    async def publish_all(self, commits: Sequence[StoredCommit]) -> None:
        """Append the commits as their writers did."""
        self.store.commits = list(commits)
        connection = self._connected()
        await ensure_stream(connection, _NAME, StreamSettings())
        handles = {
            writer: JetStreamLog(connection, _NAME, writer)
            for writer in {commit.writer for commit in commits}
        }
        for commit in commits:
            assert await handles[commit.writer].append(commit.data) == commit.sequence

    def _connected(self) -> NatsConnection:
        assert self.connection is not None
        return self.connection

    def reader(self) -> EventLog:
        """Return a handle to read by."""
        return JetStreamLog(self._connected(), _NAME, READER)


async def measure(commits: list[StoredCommit], events: int) -> None:
    """Run the benchmark and print its figures."""
    with nats_server(sync_always=False) as broker, postgres_server() as server:
        async with connect(broker.url, "bench") as connection:
            log = BrokerLog(connection=connection)
            await log.publish_all(commits)
            async with server.database() as url:
                copy_s = await copying(url, commits)
                figure("copy", events, copy_s)
                began_s = time.perf_counter()
                async with a_running_ledger(url, log) as ledger:
                    figure("project", events, time.perf_counter() - began_s, copy_s)
                    await replaying(ledger, log, events)
                    await asking(ledger, url, log.last)


async def replaying(ledger: Ledger, log: StoredLog, events: int) -> None:
    """Read, check and derive again."""
    read_s = await reading(log.reader(), log.last)
    figure("read", events, read_s)
    began_s = time.perf_counter()
    async for part in ledger.answers.verification.verify(0, 0):
        assert not part.problem, part
    figure("verify", events, time.perf_counter() - began_s, read_s)
    # The process that derives ends before its answer does, and is counted then.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.perf_counter()
    rounds = 0
    async for derived in ledger.answers.replays.rederive(0, 0):
        assert not derived.found, derived.found[:1]
        rounds += derived.same
    figure("decide", events, time.perf_counter() - began_s)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = ended.ru_utime + ended.ru_stime - before.ru_utime - before.ru_stime
    print(f"           of which {cpu_s:.1f} s of CPU time, {rounds / cpu_s:,.0f} rounds a second")


async def asking(ledger: Ledger, url: str, last: int) -> None:
    """Ask for past states."""
    chance, queries = Random(1), ledger.answers.queries
    created = await rows_of(url, _CREATED)
    took: list[float] = []
    for each in [created[0], *chance.choices(created, k=_SINGLE)]:
        moment = Moment(chance.randint(each["at"], last))
        began_s = time.perf_counter()
        await queries.deployment(each["id"], "", Wait(), moment)
        took.append(time.perf_counter() - began_s)
    shown("one then", took[1:])  # the first one starts the process
    took = []
    for _ in range(_WHOLE):
        began_s = time.perf_counter()
        moment = Moment(chance.randint(1, last))
        await queries.deployments(DeploymentFilter(limit=1_000), Wait(), moment)
        took.append(time.perf_counter() - began_s)
    shown("all then", took)


def shown(name: str, took_s: list[float]) -> None:
    """Print how long questions took."""
    took = sorted(took_s)
    p50_ms, p95_ms = (took[len(took) * part // 100] * 1e3 for part in (50, 95))
    print(f"{name:<10} p50 {p50_ms:,.1f} ms, p95 {p95_ms:,.1f} ms of {len(took)}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--file", type=Path, help="a log that `bench.long_log` kept")
    parser.add_argument("--brief", action="store_true", help="a log of 50,000 events")
    chosen = parser.parse_args(arguments)
    spare_garbage_collection()
    if chosen.file is not None:
        commits = list(read_log(chosen.file))
    else:
        wanted = 50_000 if chosen.brief else chosen.events
        commits = list(long_log(wanted, nodes=chosen.nodes))
    events = sum(len(decode(commit).envelopes) for commit in commits)
    size = sum(len(commit.data) for commit in commits)
    print(f"{events:,} events in {len(commits):,} commits, {size / 1e6:.1f} MB", flush=True)
    asyncio.run(measure(commits, events))


if __name__ == "__main__":
    main()

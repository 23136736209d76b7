"""How fast the ledger projects, against what PostgreSQL takes of the same rows at best.

The log holds deployments of three replicas through their whole life: created, placed by a round,
reported as running. Three rates, in deployments a second:

- floor: `COPY` of the final rows of all tables and views and of the commits, in batches of the
  same size, into plain tables of the same columns with the keys that the rows have;
- fold: the log decoded and folded into rows, without a database;
- projection: all of it, by the real projector into the real tables.

The ratio is projection to floor. `one by one` is the time from a commit's being in the log to its
being in the tables, when the log is otherwise idle.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain import events as ev
from fogbank.domain.envelope import GATEWAY, SCHEDULER, EventEnvelope
from fogbank.domain.ids import ZERO_DIGEST, digest, replica_id
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.states import Health, ReplicaState
from fogbank.log.follower import decode
from fogbank.log.port import StoredCommit, Writer
from fogbank.runtime.garbage import spare_garbage_collection
from services.ledger.adapters.tables import AMOUNTS
from services.ledger.core.projection import Projection
from tests.support.fleet_log import OWNER, START_US, a_fingerprint, a_spec, an_id
from tests.support.ledger import StoredLog, a_ledger, rows_of
from tests.support.postgres import PostgresServer, postgres_server

REPLICAS = 3
# What the floor copies, and by what its rows are found again. What views show of deployments is
# left out of them.
TABLES = {
    "deployments": "id",
    "deployment_resources": "deployment_id",
    "deployment_replicas": "id",
    "deployment_status_history": "deployment_id, sequence",
    "nodes": "id",
    "commits": "sequence",
}
SHOWN_BY_VIEWS = {"replicas", *AMOUNTS}


class Workload:
    """Makes the log: commits of `per_commit` events, one round and the reports for each."""

    def __init__(self, per_commit: int, nodes: int) -> None:
        self.log = StoredLog()
        self._per_commit = per_commit
        self._nodes = [an_id(f"node {number}") for number in range(nodes)]
        self._epochs: list[int] = []
        self._reports = [0] * nodes
        self._prev = ZERO_DIGEST
        self._now_us = START_US
        self._made = 0
        for start in range(0, nodes, per_commit):
            names = self._nodes[start : start + per_commit]
            sequence = self._append(
                GATEWAY, [ev.NodeConnected(node, node[:8], a_fingerprint()) for node in names]
            )
            self._epochs += [sequence << 16 | index for index in range(len(names))]

    def _append(self, service: str, events: list[ev.Event], ids: list[str] | None = None) -> int:
        self._now_us += 1_000
        data = encode_commit(
            self._now_us,
            [
                encode_envelope(
                    EventEnvelope(
                        ids[index] if ids else an_id(f"{self.log.last}/{index}"),
                        event,
                        "bench/1",
                        "bench/1",
                        self._now_us,
                    )
                )
                for index, event in enumerate(events)
            ],
        )
        sequence = self.log.store.add(Writer(service, "bench"), data)
        if service == SCHEDULER:
            self._prev = digest(data)
        return sequence

    def deploy(self, deployments: int) -> None:
        """Let so many deployments be created, placed and run."""
        for _ in range(0, deployments, self._per_commit):
            ids = [an_id(f"deployment {self._made + n}") for n in range(self._per_commit)]
            created: list[ev.Event] = [
                ev.DeploymentCreated(a_spec(f"app-{self._made + n}", REPLICAS), OWNER)
                for n in range(self._per_commit)
            ]
            facts_to = self._append(GATEWAY, created, ids)
            self._append(SCHEDULER, [self._round(ids, facts_to)])
            self._append(GATEWAY, self._reports_of(ids))
            self._made += self._per_commit

    def _node(self, deployment: int, slot: int) -> int:
        return (deployment * REPLICAS + slot) % len(self._nodes)

    def _round(self, ids: list[str], facts_to: int) -> ev.RoundDecided:
        return ev.RoundDecided(
            self._prev,
            facts_to,
            self._now_us,
            "balanced@1",
            b"",
            1,
            10_000,
            outcomes=tuple(
                ev.DeploymentPlaced(
                    id_,
                    facts_to << 16 | index,
                    a_spec().resources,
                    tuple(
                        ev.Placement(
                            replica_id(id_, slot, 1),
                            slot,
                            1,
                            self._nodes[self._node(self._made + index, slot)],
                            1_000,
                        )
                        for slot in range(REPLICAS)
                    ),
                )
                for index, id_ in enumerate(ids)
            ),
        )

    def _reports_of(self, ids: list[str]) -> list[ev.Event]:
        seen: dict[int, list[ReplicaObservation]] = {}
        for index, id_ in enumerate(ids):
            for slot in range(REPLICAS):
                replica = replica_id(id_, slot, 1)
                seen.setdefault(self._node(self._made + index, slot), []).append(
                    ReplicaObservation(
                        replica,
                        0,
                        ReplicaState.RUNNING,
                        f"stub-container-{replica}",
                        self._now_us,
                        Health.UNKNOWN,
                    )
                )
        reports: list[ev.Event] = []
        for node, observations in seen.items():
            self._reports[node] += 1
            reports.append(
                ev.NodeReported(
                    self._nodes[node],
                    self._epochs[node],
                    self._reports[node],
                    tuple(observations),
                )
            )
        return reports


async def projected(url: str, log: StoredLog) -> float:
    """Return the seconds that the projector takes for the log."""
    async with a_ledger(url, log) as ledger, asyncio.TaskGroup() as group:
        began_s = time.perf_counter()
        task = group.create_task(ledger.projector.run())
        await ledger.progress.reach(log.last, 600)
        took_s = time.perf_counter() - began_s
        task.cancel()
    return took_s


def folded(commits: list[StoredCommit], batch: int) -> float:
    """Return the seconds that folding and making rows takes."""
    began_s = time.perf_counter()
    projection = Projection()
    for number, stored in enumerate(commits, 1):
        projection.fold(decode(stored))
        if number % batch == 0:
            projection.take()
    projection.take()
    return time.perf_counter() - began_s


async def copied(url: str, batches: int) -> float:
    """Return the seconds that COPY takes for the rows that a projection left, in transactions."""
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    rows = {}
    for table, key in TABLES.items():
        left_out = SHOWN_BY_VIEWS if table == "deployments" else set()
        columns = [
            row["column_name"]
            for row in await rows_of(
                url,
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' "  # noqa: S608
                f"AND table_name = '{table}' ORDER BY ordinal_position",
            )
            if row["column_name"] not in left_out
        ]
        shown = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608
        rows[table] = (columns, [tuple(row) for row in await rows_of(url, shown)])
        await connection.execute(f"CREATE TABLE floor_{table} AS {shown} WITH NO DATA")
        await connection.execute(f"ALTER TABLE floor_{table} ADD PRIMARY KEY ({key})")
    await connection.execute(
        "CREATE INDEX ON floor_deployments (created_at, id);"
        "CREATE INDEX ON floor_deployments (user_id, created_at, id);"
        "CREATE INDEX ON floor_deployment_replicas (deployment_id);"
        "CREATE INDEX ON floor_nodes (node_id, id)"
    )
    began_s = time.perf_counter()
    for number in range(batches):
        async with connection.transaction():
            for table, (columns, records) in rows.items():
                step = -(-len(records) // batches)
                await connection.copy_records_to_table(
                    f"floor_{table}",
                    records=records[number * step : (number + 1) * step],
                    columns=columns,
                )
    took_s = time.perf_counter() - began_s
    await connection.close()
    return took_s


async def one_by_one(url: str, workload: Workload, times: int) -> list[float]:
    """Return how long each of some commits took from the log into the tables, in seconds."""
    took = []
    async with a_ledger(url, workload.log) as ledger, asyncio.TaskGroup() as group:
        task = group.create_task(ledger.projector.run())
        await ledger.progress.reach(workload.log.last, 60)
        for _ in range(times):
            began_s = time.perf_counter()
            workload.deploy(1)
            await ledger.progress.reach(workload.log.last, 60)
            took.append(time.perf_counter() - began_s)
        task.cancel()
    return sorted(took)


@asynccontextmanager
async def _database(server: PostgresServer) -> AsyncIterator[str]:
    async with server.database() as url:
        yield url


async def measure(deployments: int, per_commit: int, nodes: int) -> None:
    """Run the benchmark and print its figures."""
    workload = Workload(per_commit, nodes)
    workload.deploy(deployments)
    commits = workload.log.store.commits
    size = sum(len(commit.data) for commit in commits)
    print(
        f"{deployments} deployments of {REPLICAS} replicas on {nodes} nodes: {len(commits)} "
        f"commits, {size / 1e6:.1f} MB"
    )
    with postgres_server() as server:
        fold_s = folded(commits, batch=30)
        async with _database(server) as url:
            project_s = await projected(url, workload.log)
            (kept,) = await rows_of(url, "SELECT count(*) FROM deployments WHERE status='running'")
            assert kept["count"] == deployments, kept
            copy_s = await copied(url, batches=max(1, deployments // 1_280))
        async with _database(server) as url:
            took = await one_by_one(url, Workload(1, 10), 200)
    for name, seconds in (("floor (COPY)", copy_s), ("fold", fold_s), ("projection", project_s)):
        print(f"{name:<14} {deployments / seconds:>9,.0f} deployments/s")
    print(f"ratio projection/floor {copy_s / project_s:.2f}")
    p50_ms, p99_ms = took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3
    print(f"one by one (3 commits): p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms")


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deployments", type=int, default=12_800)
    parser.add_argument("--per-commit", type=int, default=128)
    parser.add_argument("--nodes", type=int, default=1_000)
    given = parser.parse_args(arguments)
    spare_garbage_collection()
    asyncio.run(measure(given.deployments, given.per_commit, given.nodes))


if __name__ == "__main__":
    main()

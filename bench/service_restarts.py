"""How soon each service is ready again on a long log: from the newest snapshot, and without one.

A log that `bench.long_log` makes is appended to a real broker, with two deployments created in each
of its steps, so that most events are loads and a snapshot comes now and then. The ledger projects
it into PostgreSQL; then ledger, scheduler and gateway end and start again, first with the
snapshots that the ledger kept, then with none. Measured is each start, until the service's health
says that it serves: seconds, and CPU seconds of the process, which tell more on a shared machine.
Imports are in it. A ledger that folds the log makes a snapshot again: that is deleted as well,
before scheduler and gateway start.

The ratio is the CPU time without a snapshot to that with one.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import psutil

from bench.long_log import long_log, read_log
from fogbank.domain.envelope import GATEWAY, SCHEDULER
from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import connect
from fogbank.log.port import StoredCommit, Writer
from fogbank.log.stream import StreamName
from tests.support.nats import nats_server
from tests.support.postgres import postgres_server
from tests.support.three_services import SERVICES, ThreeServices
from tests.support.waiting import eventually

CREATED = 2
LONGEST_S = 900.0
LOG_MAX_BYTES = 8 * 1024**3
ORDER = ("ledger", "scheduler", "gateway")


class _LongLogged(ThreeServices):
    """Services on a log with room for a long one."""

    def _environment(self, service: str) -> dict[str, str]:
        return super()._environment(service) | {"FOG_LOG_MAX_BYTES": str(LOG_MAX_BYTES)}


# Seconds until it served, CPU seconds until then.
Start = tuple[float, float]


async def started(
    services: ThreeServices, prepare: Callable[[str], Awaitable[None]]
) -> dict[str, Start]:
    """Start the services one after the other, each after `prepare`; each is measured alone."""
    took = {}
    for name in ORDER:
        await prepare(name)
        began_s = time.perf_counter()
        services.start(name)
        process = psutil.Process(services.pids[name])

        async def well(service: str = name) -> bool:
            assert services.alive(), services.complaints(service)
            return await services.serving(service)

        await eventually(well, LONGEST_S, what=f"the {name}")
        times = process.cpu_times()
        took[name] = (time.perf_counter() - began_s, times.user + times.system)
    return took


@asynccontextmanager
async def writers(services: ThreeServices) -> AsyncIterator[dict[str, JetStreamLog]]:
    """Yield a handle on the log for each service that writes."""
    async with connect(services.broker.url, "bench") as connection:
        yield {
            service: JetStreamLog(connection, StreamName(), Writer(service, "bench"))
            for service in (GATEWAY, SCHEDULER)
        }


async def filled(services: ThreeServices, commits: Iterable[StoredCommit]) -> int:
    """Append the commits as they are; return how many there are."""
    sequence = 0
    async with writers(services) as logs:
        for commit in commits:
            sequence = await logs[commit.writer.service].append(commit.data)
            assert sequence == commit.sequence
    return sequence


async def measure(commits: Iterable[StoredCommit]) -> None:
    """Measure starts with snapshots, and without them."""
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(nats_server())
        database = stack.enter_context(postgres_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fogbank-bench-")))
        url = await stack.enter_async_context(database.database())
        services = _LongLogged(broker, url, folder)
        stack.callback(services.kill)
        tables = await asyncpg.connect(url.replace("+asyncpg", ""))
        stack.push_async_callback(tables.close)

        # A ledger makes the stream; no gateway, which would write the first commit itself.
        services.start("ledger")

        async def serves() -> bool:
            assert services.alive(), services.complaints("ledger")
            return await services.serving("ledger")

        await eventually(serves, LONGEST_S, what="the ledger")
        began_s = time.perf_counter()
        last = await filled(services, commits)
        print(f"{last:,} commits appended in {time.perf_counter() - began_s:.0f} s", flush=True)

        async def projected() -> bool:
            await asyncio.sleep(0.5)
            return int(await tables.fetchval("SELECT position FROM checkpoint")) >= last

        await eventually(projected, LONGEST_S, what="the last commit in the tables")
        print(f"all in the tables after {time.perf_counter() - began_s:.0f} s", flush=True)
        await services.stop()

        newest = await tables.fetchval("SELECT max(position) FROM snapshots")
        print(f"the newest snapshot is of {newest or 0:,} of {last:,} commits", flush=True)

        async def kept(_name: str) -> None:
            """Wait for the newest snapshot."""
            position = "SELECT max(position) FROM snapshots"

            async def there() -> bool:
                return bool(await tables.fetchval(position) == newest)

            await eventually(there, LONGEST_S, what="the newest snapshot")

        async def none(name: str) -> None:
            """Let there be no snapshot, also after a ledger that made it again from the log."""
            if name == ORDER[1]:
                await kept(name)
            await tables.execute("DELETE FROM snapshots")

        with_one = await started(services, kept)
        await services.stop()
        without = await started(services, none)
        for name in SERVICES:
            (quick_s, quick_cpu_s), (slow_s, slow_cpu_s) = with_one[name], without[name]
            print(
                f"{name:<10} from the snapshot {quick_s:5.1f} s ({quick_cpu_s:5.1f} s CPU)   "
                f"from the log {slow_s:6.1f} s ({slow_cpu_s:6.1f} s CPU)   "
                f"ratio {slow_cpu_s / quick_cpu_s:.1f}",
                flush=True,
            )


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.service_restarts", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--file", type=Path, help="a log that `bench.long_log` kept, instead")
    parser.add_argument("--brief", action="store_true", help="a log of 100,000 events")
    given = parser.parse_args(arguments)
    events = 100_000 if given.brief else given.events
    commits = (
        read_log(given.file)
        if given.file is not None
        else long_log(events, nodes=given.nodes, created=CREATED)
    )
    asyncio.run(measure(commits))


if __name__ == "__main__":
    main()

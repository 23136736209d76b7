"""What a gateway does with more than it takes: how much waits at most, how the rest is refused.

A gateway that lets 2,000 deployments wait (`FOG_MAX_PENDING`), with a scheduler and no node, so
that all wait. Batches of 100 deployments come from several callers at once, until five times as
many were asked for as may wait. Every deployment must be accepted or refused by reason, and no more
accepted than may wait. The floor is the median time to accept a batch.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from fogbank.codec.values import spec_to_pb
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import deployment_service_pb2_grpc as pb_grpc
from tests.support.fleet_log import a_spec
from tests.support.nats import nats_server
from tests.support.postgres import postgres_server
from tests.support.three_services import ThreeServices, User

MAX_PENDING = 2_000
BATCH = 100
CALLERS = 8
TIMEOUT_S = 60.0


class _Bounded(ThreeServices):
    """Services whose gateway lets few deployments wait."""

    def _environment(self, service: str) -> dict[str, str]:
        bounds = {"FOG_MAX_PENDING": str(MAX_PENDING), "FOG_MAX_PENDING_SHARE": "1"}
        return super()._environment(service) | bounds | {"FOG_REQUESTS_PER_SECOND": "1000000"}


async def asked(user: User, batches: int) -> tuple[Counter[str], list[float], list[float]]:
    """Ask for so many batches; return outcomes by reason, and how long batches took in seconds.

    Those of which all was accepted come first, those of which all was refused second.
    """
    stub: Any = pb_grpc.DeploymentServiceStub(user.channel)
    outcomes: Counter[str] = Counter()
    accepted_s: list[float] = []
    refused_s: list[float] = []
    left = iter(range(batches))

    async def call() -> None:
        for _ in left:
            requests = [
                pb.CreateDeploymentRequest(
                    request_id=str(uuid4()),
                    spec=spec_to_pb(a_spec("overload", wait_for_capacity=True)),
                )
                for _ in range(BATCH)
            ]
            began_s = time.perf_counter()
            answer = await stub.CreateDeployments(
                pb.CreateDeploymentsRequest(requests=requests),
                metadata=user.metadata,
                timeout=TIMEOUT_S,
            )
            took_s = time.perf_counter() - began_s
            reasons = Counter(each.error_reason or "accepted" for each in answer.outcomes)
            outcomes.update(reasons)
            if set(reasons) == {"accepted"}:
                accepted_s.append(took_s)
            elif "accepted" not in reasons:
                refused_s.append(took_s)

    await asyncio.gather(*[call() for _ in range(CALLERS)])
    return outcomes, accepted_s, refused_s


async def measure(times: int) -> None:
    """Ask for `times` as many as may wait, and print what came of it."""
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(nats_server())
        database = stack.enter_context(postgres_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fogbank-bench-")))
        url = await stack.enter_async_context(database.database())
        services = _Bounded(broker, url, folder)
        stack.callback(services.kill)
        services.start()
        await services.ready()
        user = await stack.enter_async_context(services.user())
        gateway = psutil.Process(services.pids["gateway"])
        before = gateway.memory_info().rss
        began_s = time.perf_counter()
        outcomes, accepted_s, refused_s = await asked(user, times * MAX_PENDING // BATCH)
        took_s = time.perf_counter() - began_s
        grown = gateway.memory_info().rss - before
        total = sum(outcomes.values())
    accepted_s.sort()
    refused_s.sort()
    floor_ms = accepted_s[len(accepted_s) // 2] * 1e3
    refused_ms = refused_s[len(refused_s) // 2] * 1e3
    assert total == times * MAX_PENDING, outcomes
    assert outcomes["accepted"] <= MAX_PENDING, outcomes
    print(f"{total:,} asked for by {CALLERS} callers in {took_s:.1f} s: {dict(outcomes)}")
    print(
        f"a batch of {BATCH} accepted in {floor_ms:.0f} ms, refused in {refused_ms:.1f} ms "
        f"(p50): ratio {refused_ms / floor_ms:.2f}; the gateway grew by {grown / 1e6:.0f} MB"
    )


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="as many as may wait")
    given = parser.parse_args(arguments)
    asyncio.run(measure(given.times))


if __name__ == "__main__":
    main()

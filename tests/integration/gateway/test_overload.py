"""More is asked than can be done: what fits is accepted, the rest refused at once and clearly."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from tests.support.rest_face import RestFace, deploy_body, rest_face
from tests.support.waiting import eventually

DEPLOY = "/api/deployment/deploy"
ASKED = 60
PROBLEM = {"Accept": "application/problem+json"}


class StandingLog:
    """Holds every append back until `go` is set, as a broker does whose disk doesn't answer."""

    def __init__(self, face: RestFace, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = asyncio.Event()
        self.holds = asyncio.Event()
        append = face.log.append

        async def held(data: bytes, **expected: Any) -> int:
            self.holds.set()
            await self.go.wait()
            return await append(data, **expected)

        monkeypatch.setattr(face.log, "append", held)


async def deploy(client: httpx2.AsyncClient, number: int) -> httpx2.Response:
    body = deploy_body(name=f"app-{number}", replicas=1)
    return await client.post(DEPLOY, json=body, headers=PROBLEM)


def refused(answers: Sequence[httpx2.Response], status: int, reason: str) -> int:
    """Return how many were refused, each as it should be."""
    found = [answer for answer in answers if answer.status_code != 202]
    for answer in found:
        assert (answer.status_code, answer.json()["reason"]) == (status, reason)
        assert int(answer.headers["retry-after"]) >= 1
    return len(found)


def names(face: RestFace) -> list[str]:
    return sorted(each.spec.name for each in face.fold.fleet.facts.deployments.values())


async def test_while_the_log_stands_still_no_more_waits_than_has_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with rest_face(max_backlog_bytes=8_000) as face, face.client() as client:
        log = StandingLog(face, monkeypatch)
        asked = [asyncio.create_task(deploy(client, 0))]
        await eventually(log.holds.is_set, what="an append on its way; what comes now waits")
        asked += [asyncio.create_task(deploy(client, number)) for number in range(1, ASKED)]
        await eventually(lambda: any(each.done() for each in asked), what="the first refusal")
        late = await deploy(client, ASKED)
        assert refused([late], 429, "LOG_BACKLOG_FULL") == 1
        log.go.set()
        answers = await asyncio.gather(*asked)

        turned_away = refused(answers, 429, "LOG_BACKLOG_FULL")
        assert 0 < turned_away < ASKED
        accepted = [n for n, answer in enumerate(answers) if answer.status_code == 202]
        assert names(face) == sorted(f"app-{n}" for n in accepted), "all that, and nothing else"
        assert (await deploy(client, ASKED)).status_code == 202, "there is room again"


async def test_while_the_log_is_down_everybody_is_refused_at_once() -> None:
    async with rest_face() as face, face.client() as client:
        face.store.available = False
        answers = await asyncio.gather(*(deploy(client, number) for number in range(ASKED)))
        assert refused(answers, 503, "LOG_UNAVAILABLE") == ASKED
        face.store.available = True
        face.store.wake()
        await eventually(lambda: face.appender.is_open, what="the log to be written again")
        assert (await deploy(client, ASKED)).status_code == 202
        # Who was in doubt may have been heard; nobody is in the log twice.
        assert max(Counter(names(face)).values()) == 1


async def test_while_no_scheduler_decides_so_many_wait_and_no_more() -> None:
    most = 20
    async with rest_face(max_pending=most) as face, face.client() as client:
        answers = await asyncio.gather(*(deploy(client, number) for number in range(ASKED)))
        assert refused(answers, 429, "QUEUE_FULL") == ASKED - most
        assert len(names(face)) == face.fold.pending == most
        # What makes room is never refused.
        (some, *_) = [answer for answer in answers if answer.status_code == 202]
        known = some.json()["deployment_id"]
        assert (await client.delete(f"/api/deployment/{known}")).status_code < 300
        assert (await deploy(client, ASKED)).status_code == 202

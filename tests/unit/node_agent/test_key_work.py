"""Work with keys is done elsewhere, together, and its failures are told."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from fogbank.runtime.certificates import key_digest_of_request, make_key
from services.node_agent.adapters.key_work import Job, KeyWork
from services.node_agent.app.ports import GatewayError

# Answers with how many jobs came at once, and writes a line for each start.
_COUNTS = """
import sys
from pathlib import Path
from msgspec import json
jobs = json.decode(sys.stdin.buffer.read())
with Path(sys.argv[1]).open("a") as starts:
    starts.write("started\\n")
sys.stdout.buffer.write(json.encode([{"authority_pem": str(len(jobs))}] * len(jobs)))
"""


async def test_it_signs_with_the_key_of_each_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(make_key())
    work = KeyWork()
    done = await asyncio.gather(*(work.do(Job(str(tmp_path / name), name)) for name in "ab"))
    assert len({key_digest_of_request(each.request) for each in done}) == 2


async def test_what_is_wanted_meanwhile_is_done_together(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    work = KeyWork((sys.executable, "-c", _COUNTS, str(starts)))
    job = Job("key", "node")
    first = asyncio.create_task(work.do(job))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(work.do(job)) for _ in range(20)]
    assert (await first).authority_pem == "1"
    assert {each.authority_pem for each in await asyncio.gather(*others)} == {"20"}
    assert (await work.do(job)).authority_pem == "1"
    assert len(starts.read_text().splitlines()) == 3


async def test_who_waits_no_more_leaves_the_others_their_answers(tmp_path: Path) -> None:
    work = KeyWork((sys.executable, "-c", _COUNTS, str(tmp_path / "starts")))
    first, second = (asyncio.create_task(work.do(Job("key", "node"))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).authority_pem == "2"


async def why_not(work: KeyWork, job: Job) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await work.do(job)
    return caught.value


async def test_a_key_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    error = await why_not(KeyWork(), Job(str(tmp_path / "missing"), "node"))
    assert error.refused
    assert "missing" in str(error)
    (tmp_path / "none").write_text("no key")
    error = await why_not(KeyWork(), Job(str(tmp_path / "none"), "node"))
    assert "the key can't be read" in str(error)


async def test_a_server_that_is_away_may_come_back(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # (and nobody listens)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        error = await why_not(KeyWork(), Job(str(tmp_path / "key"), "node", address, b"x" * 32))
    assert not error.refused
    assert f"cannot join at {address}" in str(error)


@pytest.mark.parametrize(
    "command",
    [
        ("/nowhere",),
        (sys.executable, "-c", "raise SystemExit('out of memory')"),
        (sys.executable, "-c", "print('no JSON')"),
        (sys.executable, "-c", "print('[]')"),
    ],
)
async def test_a_process_that_fails_fails_the_work_and_no_more(command: tuple[str, ...]) -> None:
    error = await why_not(KeyWork(command), Job("key", "node"))
    assert not error.refused
    assert "the process that works with keys failed" in str(error)


async def test_what_it_said_is_told() -> None:
    work = KeyWork((sys.executable, "-c", "raise SystemExit('out of memory')"))
    assert "out of memory" in str(await why_not(work, Job("key", "node")))

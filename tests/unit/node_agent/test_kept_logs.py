"""What stays on a node's disk of the logs of containers that are gone."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.node_agent.adapters.kept_logs import KeptLogs
from services.node_agent.core.garbage import LogRules


async def said(logs: KeptLogs, replica_id: str, tail: int = 1_000) -> str:
    pieces = logs.pieces(replica_id, tail, previous=False, gone=True)
    return "".join([piece async for piece in pieces])


async def test_only_their_owner_can_read_them(tmp_path: Path) -> None:
    await KeptLogs(tmp_path / "logs", LogRules()).keep("a", 0, "secret\n")
    assert (tmp_path / "logs").stat().st_mode & 0o077 == 0
    (path,) = (tmp_path / "logs").iterdir()
    assert path.stat().st_mode & 0o077 == 0


async def test_of_a_long_log_the_end_stays_from_the_beginning_of_a_line_on(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path, LogRules())
    await logs.keep("a", 0, "".join(f"{number} {'x' * 1_000}\n" for number in range(1_000)))
    lines = (await said(logs, "a")).splitlines()
    assert 200 < len(lines) < 300
    assert lines[0] == f"{1_000 - len(lines)} {'x' * 1_000}"
    assert await said(logs, "a", tail=1) == f"{lines[-1]}\n"


async def test_more_than_there_is_room_for_goes(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path, LogRules(containers=1, total_bytes=25))
    for replica_id, count in (("a", 0), ("a", 1), ("b", 0), ("c", 0)):
        await logs.keep(replica_id, count, f"{replica_id}-{count} wrote\n")
    assert [await said(logs, each) for each in "abc"] == ["", "b-0 wrote\n", "c-0 wrote\n"]


async def test_many_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    logs = KeptLogs(tmp_path, LogRules(containers=1, total_bytes=40))
    with capture_logs() as complaints:
        async with asyncio.TaskGroup() as tasks:
            for number in range(200):
                tasks.create_task(logs.keep(f"r-{number}", 0, "a line\n"))
    assert complaints == []


async def test_a_disk_that_refuses_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.write_text("not a folder")
    with capture_logs() as complaints:
        await KeptLogs(folder, LogRules()).keep("a", 0, "a line\n")
    assert [each["event"] for each in complaints] == ["log not kept"]


@pytest.mark.parametrize("rules", [LogRules(containers=0), LogRules(total_bytes=0)])
async def test_nothing_stays_where_nothing_is_to(tmp_path: Path, rules: LogRules) -> None:
    logs = KeptLogs(tmp_path, rules)
    await logs.keep("a", 0, "a line\n")
    assert not await said(logs, "a")

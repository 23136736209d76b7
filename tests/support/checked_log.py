"""A running system's whole log: checked by a checker that shares no code with it, derived again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fogbank.checker import Acknowledged, Report
from fogbank.cli.verification import verify_source
from fogbank.cli.whole_log import LogSource, check_source
from tests.support.waiting import eventually_sync

# Longer lists help nobody.
_SHOWN = 40


def read_and_check(
    nats_url: str, acknowledged: Iterable[Acknowledged] = (), *, settled: bool = False
) -> Report:
    """Read the log of the fleet `default` from the broker (its URL may hold user and password)."""
    return asyncio.run(check_source(LogSource(nats_url), acknowledged, settled=settled))


def assert_log_keeps_the_rules(
    nats_url: str,
    acknowledged: Iterable[Acknowledged] = (),
    *,
    settled: bool = False,
    within_s: float = 120,
) -> Report:
    """Assert that a running system's log breaks no rule, and return the report.

    Each of its rounds must come out the same when it is derived again. With `settled`, the system
    has `within_s` seconds to come to rest.
    """
    promises = tuple(acknowledged)
    report = read_and_check(nats_url, promises)
    assert report.clean, readable(report)
    if not settled:
        assert_decisions_follow(nats_url)
        return report
    last: list[Report] = []

    def has_settled() -> Report | None:
        last[:] = [read_and_check(nats_url, promises, settled=True)]
        return last[0] if last[0].clean else None

    try:
        found = eventually_sync(has_settled, within_s, what="the fleet's coming to rest")
    except AssertionError as error:
        raise AssertionError(readable(last[0])) from error
    assert found is not None
    assert_decisions_follow(nats_url)
    return found


def assert_decisions_follow(nats_url: str) -> None:
    """Assert that every round in a log comes out the same when it is derived again."""
    found = asyncio.run(verify_source(LogSource(nats_url)))
    assert found.clean, "\n".join(map(str, found.different[:_SHOWN]))
    assert not found.unverifiable


def readable(report: Report) -> str:
    """Return a report as text: the violations, one a line, then the figures."""
    lines = [f"{report.violations_total} violations in the log:"]
    lines += [f"  {violation}" for violation in report.violations[:_SHOWN]]
    if report.violations_total > _SHOWN:
        lines.append(f"  ... and {report.violations_total - _SHOWN} more")
    return "\n".join([*lines, f"  {report.counts}"])

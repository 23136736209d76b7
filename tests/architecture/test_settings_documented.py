"""The table of settings in docs/operations.md says what the settings classes say."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec import NODEFAULT
from msgspec.structs import FieldInfo, fields

from fogbank.runtime.settings import FleetSettings, Secret, Settings, variables
from services.gateway.settings import GatewaySettings
from services.ledger.settings import LedgerSettings
from services.node_agent.settings import AgentSettings
from services.scheduler.settings import SchedulerSettings
from tests.architecture.source_tree import ROOT, report

DOCUMENT = "docs/operations.md"
SERVICES: dict[str, type[Settings]] = {
    "gateway": GatewaySettings,
    "scheduler": SchedulerSettings,
    "ledger": LedgerSettings,
    "agent": AgentSettings,
}
# Worked out at the start, so the class has no default of its own.
WORKED_OUT = {"FOG_INSTANCE": "service-host-process", "FOG_NODE_NAME": "the host's name"}
HEADINGS = ["variable", "for", "unit", "default", "meaning"]
# What a name ends with, and the unit that is then in the table.
UNITS = {
    "_MS": "ms",
    "_S": "s",
    "_MINUTES": "minutes",
    "_HOURS": "hours",
    "_BYTES": "bytes",
    "_KIB": "KiB",
    "_MIB": "MiB",
    "_GIB": "GiB",
    "_CORES": "cores",
    "_MILLICORES": "millicores",
    "_LISTEN": "host:port",
    "_ADDR": "host:port",
    "_ADDRS": "host:port",
}
# Names of other systems' documents that are no setting's name: what is to be said of them.
HANDLED = {"API_HOST", "API_PORT", "ENABLE_SCHEDULER", "REDIS_URL"}


@dataclass(frozen=True)
class Row:
    """What a row of the table says of a variable."""

    variable: str
    services: str
    default: str


def names(field: FieldInfo) -> str:
    """Return a setting's variables as the table has them, the one that wins first."""
    return ", ".join(f"`{name}`" for name in variables(field))


def default(variable: str, field: FieldInfo) -> str:
    """Return a default as the table has it."""
    if variable in WORKED_OUT:
        return WORKED_OUT[variable]
    value: Any = field.default
    if value is NODEFAULT:
        value = field.default_factory()
    if isinstance(value, Secret):
        value = value.reveal()
    if isinstance(value, tuple):
        value = ",".join(str(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value in ("", {}):
        return "none"
    return f"`{value}`" if isinstance(value, str | Path) else str(value)


def expected() -> list[Row]:
    """Return the rows that the settings classes come to."""
    found: dict[str, dict[str, str]] = {}
    for service, settings in SERVICES.items():
        for field in fields(settings):
            variable = names(field)
            found.setdefault(variable, {})[service] = default(variable.split("`")[1], field)
    return [
        Row(
            variable,
            "all" if by_service.keys() == SERVICES.keys() else ", ".join(by_service),
            " / ".join(dict.fromkeys(by_service.values())),
        )
        for variable, by_service in found.items()
    ]


def cells() -> Iterator[list[str]]:
    """Yield the rows of the table, heading included."""
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8").partition("\n## Settings\n")[2]
    for line in text.partition("\n## ")[0].splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def documented() -> list[list[str]]:
    """Return the table without heading and rule."""
    heading, _rule, *rows = cells()
    assert heading == HEADINGS
    return rows


def test_the_table_names_each_setting_with_its_services_and_default() -> None:
    wanted = set(expected())
    there = [Row(row[0], row[1], row[3]) for row in documented()]
    problems = [f"missing: {row}" for row in wanted.difference(there)]
    problems += [f"not so: {row}" for row in set(there) - wanted]
    problems += [f"twice: {row.variable}" for row in set(there) if there.count(row) > 1]
    assert not problems, report(sorted(problems), f"Mend the table at the end of {DOCUMENT}.")


def test_each_setting_has_a_meaning_and_the_unit_of_its_name() -> None:
    problems = []
    for variable, _for, unit, _default, meaning in documented():
        first = variable.split("`")[1]
        ending = max((end for end in UNITS if first.endswith(end)), key=len, default="")
        if not meaning:
            problems.append(f"{first} has no meaning")
        if ending and unit != UNITS[ending]:
            problems.append(f"{first} is in {UNITS[ending]}, not in {unit or 'nothing'}")
    assert not problems, report(problems, f"Mend the table at the end of {DOCUMENT}.")


@pytest.mark.parametrize("name", sorted(HANDLED))
def test_names_from_elsewhere_are_explained(name: str) -> None:
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8").partition("\n## Settings\n")[2]
    assert re.search(rf"`{name}\b", text), f"{DOCUMENT} says nothing of {name} under Settings"


def test_the_fleet_settings_are_those_of_the_services_around_the_log() -> None:
    for service in ("gateway", "scheduler", "ledger"):
        assert issubclass(SERVICES[service], FleetSettings)

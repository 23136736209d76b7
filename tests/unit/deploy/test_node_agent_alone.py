"""The node agent installs alone: what it brings along, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "deploy" / "systemd" / "fogbank-node-agent.service"
MOST_BYTES = 60_000_000
# Of the services on the other side.
NEVER = {"numpy", "sqlalchemy", "asyncpg", "nats-py", "fastapi", "uvicorn", "typer", "alembic"}
# Only these packages are there, as far as imports go.
_IMPORTS = """
import sys
there = set(sys.argv[1].split(","))
from importlib.metadata import packages_distributions

owners = {name: set(found) for name, found in packages_distributions().items()}

class Absent:
    def find_spec(self, name, path=None, target=None):
        found = owners.get(name.partition(".")[0], ())
        known = {owner.lower().replace("_", "-") for owner in found}
        if known and not known & there:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import services.node_agent.main
print("numpy" in sys.modules, "sqlalchemy" in sys.modules)
"""


def brought_along() -> dict[str, Distribution]:
    """Return what `pip install fogbank[node-agent]` installs, by the installed packages' needs."""
    found: dict[str, Distribution] = {}
    waiting: list[tuple[str, frozenset[str]]] = [("fogbank", frozenset({"node-agent"}))]
    while waiting:
        name, extras = waiting.pop()
        of_name = distribution(name)
        for text in of_name.requires or ():
            needed = Requirement(text)
            wanted = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if needed.marker is not None and not any(map(needed.marker.evaluate, wanted)):
                continue
            key = canonicalize_name(needed.name)
            if key not in found and key != "fogbank":
                found[key] = distribution(key)
                waiting.append((key, frozenset(needed.extras)))
    return found


def test_it_brings_no_numbers_no_sql_and_less_than_60_mb() -> None:
    brought = brought_along()
    assert "grpcio" in brought
    assert not NEVER & set(brought)
    size = sum(
        Path(str(file.locate())).stat().st_size
        for each in brought.values()
        for file in each.files or ()
        if Path(str(file.locate())).is_file() and not str(file).endswith(".pyc")
    )
    assert size < MOST_BYTES, f"{size / 1e6:.0f} MB"


def test_it_needs_nothing_else() -> None:
    there = ",".join([*brought_along(), "fogbank"])
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS, there],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "False"]


def test_the_unit_starts_it_and_names_settings_that_there_are() -> None:
    unit = UNIT.read_text(encoding="utf-8")
    assert "-m services.node_agent.main" in unit
    assert "Type=notify" in unit
    assert "FOG_DATA_DIR=/var/lib/fogbank" in unit

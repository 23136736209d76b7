"""The node agent installs alone: what it brings along, and what it does not."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "deploy" / "systemd" / "fogbank-node-agent.service"
MOST_BYTES = 60_000_000
# Of the services on the other side.
NEVER = {
    *("numpy", "sqlalchemy", "asyncpg", "nats-py", "fastapi", "uvicorn", "typer", "alembic"),
    "pydantic",
}
# What takes much memory; joining and renewing need the last two, in a process of their own.
NOT_IN_MEMORY = "numpy,sqlalchemy,pydantic,cryptography,OpenSSL"
# Only these packages are there, as far as imports go.
_IMPORTS = """
import sys
there = set(sys.argv[1].split(","))
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions

owners = {name: set(found) for name, found in packages_distributions().items()}

class Alone(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        found = owners.get(name.partition(".")[0], ())
        known = {owner.lower().replace("_", "-") for owner in found}
        absent = known and not known & there
        return None if absent else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Alone
import services.node_agent.main
print([name for name in sys.argv[2].split(",") if name in sys.modules])
import services.node_agent.adapters.engine_nodes
import services.node_agent.adapters.key_worker
"""


def brought_along() -> dict[str, Distribution]:
    """Return what `pip install .[node-agent]` installs, by the installed packages' needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [
        (text, frozenset({""}))
        for text in (*project["dependencies"], *project["optional-dependencies"]["node-agent"])
    ]
    found: dict[str, Distribution] = {}
    while waiting:
        text, extras = waiting.pop()
        needed = Requirement(text)
        marker, key = needed.marker, canonicalize_name(needed.name)
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in extras):
            continue
        if key not in found:
            found[key] = distribution(key)
            wanted = frozenset(needed.extras or {""})
            waiting += [(each, wanted) for each in found[key].requires or ()]
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


def test_it_needs_nothing_else_and_keeps_no_more_in_memory_than_it_must() -> None:
    there = ",".join([*brought_along(), "fogbank"])
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS, there, NOT_IN_MEMORY],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_unit_starts_it_and_names_settings_that_there_are() -> None:
    unit = UNIT.read_text(encoding="utf-8")
    assert "-m services.node_agent.main" in unit
    assert "Type=notify" in unit
    assert "FOG_DATA_DIR=/var/lib/fogbank" in unit

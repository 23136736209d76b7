"""How much memory an agent takes that is installed alone and calls over mutual TLS.

A whole system (`fog up --tls`) with a node of its own that is cordoned, and one agent beside it, as
on a host of its own: it joins by a token, and everything that is deployed goes to it. `--python` is
the interpreter of an environment in which nothing but the agent is installed:

    python3 -m venv alone && alone/bin/pip install '.[node-agent]'
    python -m bench.agent_memory --python alone/bin/python

Printed are resident memory (RSS), what of it is the agent's own with shared pages divided among
those who share them (PSS) and with none of them (USS), connected and empty and then with the
replicas. The floor is an interpreter that has imported asyncio and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.fog_up import FogUp, fog, fog_up
from tests.support.waiting import eventually_sync

NAME = "alone"
_PATIENCE_S = 300


def figures(process: psutil.Process) -> str:
    """Return what a process takes, in MB of a million bytes."""
    seen = process.memory_full_info()
    return (
        f"{seen.rss / 1e6:.1f} MB resident, PSS {seen.pss / 1e6:.1f}, USS {seen.uss / 1e6:.1f}, "
        f"{process.num_threads()} threads"
    )


def floor(python: str) -> str:
    """Return what an interpreter takes that has only imported asyncio."""
    with subprocess.Popen(
        [python, "-c", "import asyncio, sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return figures(psutil.Process(process.pid))


@contextmanager
def agent(system: FogUp, python: str, folder: Path, engine: str) -> Generator[psutil.Process]:
    """Run an agent that joins the system while the context lasts."""
    token = json.loads(fog(system, "nodes", "token", "-o", "json").stdout)
    # Those of this process would have it import the checkout, or compile all modules anew.
    strange = ("FOG_", "PYTHON")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(strange)}
    environment = {
        "FOG_DATA_DIR": str(folder / "data"),
        "FOG_NODE_NAME": NAME,
        "FOG_RUNTIME": "container" if engine else "simulated",
        "FOG_ENGINE_SOCKET": engine,
        "FOG_JOIN_TOKEN": token["token"],
        "FOG_JOIN_ADDR": token["join_address"],
        "FOG_GATEWAY_ADDRS": token["agent_address"],
    }
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", "services.node_agent.main"],
            env=kept | environment,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)


def at_rest(process: psutil.Process, seconds: float) -> str:
    """Return what the agent takes after so many seconds in which nobody wants anything of it."""
    began_s = time.monotonic()
    eventually_sync(
        lambda: time.monotonic() - began_s >= seconds, seconds + _PATIENCE_S, what="the time"
    )
    return figures(process)


def measure(python: str, replicas: int, seconds: float, engine: str, image: str) -> None:
    """Measure one agent with so many replicas, each time after so many seconds of rest."""
    print(f"floor, asyncio imported: {floor(python)}", flush=True)
    with fog_up("--tls", "--nodes", "1") as system, tempfile.TemporaryDirectory() as folder:
        own = fog(system, "nodes", "-o", "name").stdout.strip()
        assert fog(system, "nodes", "cordon", own).returncode == 0
        with agent(system, python, Path(folder), engine) as process:
            eventually_sync(
                lambda: NAME in fog(system, "nodes", "-o", "name").stdout,
                _PATIENCE_S,
                what="the agent's node",
            )
            print(f"connected and empty: {at_rest(process, seconds)}", flush=True)
            wanted = ["--image", image, "--replicas", str(replicas), "--allow-colocation"]
            # A machine that measures may be busy, and a busy node takes nothing.
            wanted += ["--wait-for-capacity", "--wait", "--timeout", str(_PATIENCE_S)]
            size = ["--cpu", "0.001", "--memory", "8", "--storage", "0"]
            deployed = fog(system, "deploy", "many", *wanted, *size, timeout_s=2 * _PATIENCE_S)
            assert deployed.returncode == 0, deployed.stderr
            print(f"with {replicas} replicas: {at_rest(process, seconds)}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.agent_memory", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="the agent's interpreter")
    parser.add_argument("--replicas", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=15, help="at rest before each look")
    parser.add_argument(
        "--engine", default="", help="its socket; without, containers are simulated"
    )
    parser.add_argument("--image", default="x", help="what the replicas run")
    given = parser.parse_args(arguments)
    measure(given.python, given.replicas, given.seconds, given.engine, given.image)


if __name__ == "__main__":
    main()

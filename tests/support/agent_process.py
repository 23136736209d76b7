"""An agent as a process of its own, started as an operator starts it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def agent_process(
    folder: Path, address: str, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an agent of the gateway at an address until the block ends, then kill it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOG_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.node_agent.main",
        env=kept
        | {
            "FOG_GATEWAY_ADDRS": address,
            "FOG_DATA_DIR": str(folder / "data"),
            "FOG_NODE_NAME": "here",
            "FOG_RUNTIME": "simulated",
        }
        | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()

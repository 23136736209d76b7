"""A service as a process: what it prints, serves, and exits with."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def sample_service(**environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.runtime.sample_service"],
        cwd=ROOT,
        env=os.environ | {"FOG_METRICS_LISTEN": "127.0.0.1:0"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], event: str) -> list[dict[str, Any]]:
    assert process.stdout is not None
    lines = []
    for text in process.stdout:
        lines.append(json.loads(text))
        if lines[-1]["event"] == event:
            return lines
    raise AssertionError(f"{event!r} never came: {lines}")


def test_it_serves_until_a_signal_and_exits_with_zero() -> None:
    with sample_service() as process:
        lines = until(process, "ready")
        ports = {line["protocol"]: line["port"] for line in lines if line["event"] == "listening"}
        answer = httpx2.get(f"http://127.0.0.1:{ports['metrics']}/metrics", trust_env=False)
        assert 'fog_loop_alive{loop="waits"} 1.0' in answer.text
        process.send_signal(signal.SIGTERM)
        last = until(process, "stopped")[-1]
        assert process.wait(timeout=60) == 0
    assert last["level"] == "INFO"
    assert last["service"] == "sample"
    assert last["instance"].startswith("sample-")


def test_a_dead_loop_exits_with_one() -> None:
    with sample_service(DIE="1") as process:
        assert until(process, "loop died")[-1]["loop"] == "dies"
        failure = until(process, "service failed")[-1]
        assert process.wait(timeout=60) == 1
    assert "RuntimeError: by request" in failure["exception"]


def test_a_bad_setting_exits_with_64_before_anything_else() -> None:
    with sample_service(FOG_METRICS_LISTEN="nowhere") as process:
        assert process.wait(timeout=60) == 64
        assert process.stderr is not None
        assert process.stderr.read().startswith("bad setting: FOG_METRICS_LISTEN")


def test_a_taken_metrics_port_is_said_in_one_line() -> None:
    with sample_service() as first:
        lines = until(first, "ready")
        port = next(line["port"] for line in lines if line.get("protocol") == "metrics")
        with sample_service(FOG_METRICS_LISTEN=f"127.0.0.1:{port}") as second:
            failure = until(second, "service failed")[-1]
            assert second.wait(timeout=60) == 1
    assert "in use" in failure["error"]
    assert "exception" not in failure

"""Log lines: one shape for all of them, and no secrets in any."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog

from fogbank.runtime.logging import configure


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def output() -> io.StringIO:
    stream = io.StringIO()
    configure("gateway", "gateway-1", "INFO", "json", stream)
    return stream


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_line_says_when_who_and_how_bad(output: io.StringIO) -> None:
    structlog.get_logger("fogbank.test").info("listening", port=7)
    (line,) = lines(output)
    assert line["level"] == "INFO"
    assert line["event"] == "listening"
    assert line["port"] == 7
    assert (line["service"], line["instance"]) == ("gateway", "gateway-1")
    assert line["timestamp"].endswith("Z")


def test_the_standard_library_goes_the_same_way(output: io.StringIO) -> None:
    logging.getLogger("some.library").warning("it is %s", "late")
    (line,) = lines(output)
    assert (line["level"], line["event"], line["logger"]) == (
        "WARNING",
        "it is late",
        "some.library",
    )


def test_a_full_disk_costs_lines_and_not_the_work_that_they_tell_of() -> None:
    with Path("/dev/full").open("w") as full:
        configure("gateway", "gateway-1", "INFO", "json", full)
        log = structlog.get_logger("fogbank.test")
        for level in ("debug", "info", "warning", "error", "critical", "exception"):
            getattr(log, level)("no room", much="x" * 10_000)
        with suppress(OSError):  # what was never written is tried once more
            full.close()


def test_a_trace_is_part_of_its_line(output: io.StringIO) -> None:
    try:
        raise ValueError("inside")
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
    (line,) = lines(output)
    assert "ValueError: inside" in line["exception"]
    assert line["level"] == "ERROR"


def test_quiet_below_the_level(output: io.StringIO) -> None:
    structlog.get_logger().debug("chatter")
    logging.getLogger("x").debug("chatter")
    assert output.getvalue() == ""


def test_secrets_are_masked(output: io.StringIO) -> None:
    structlog.get_logger().info(
        "connecting",
        password="hush",
        headers={"Authorization": "Bearer hush", "accept": "x"},
        url="nats://fog:hush@host:4222",
    )
    assert "hush" not in output.getvalue()
    assert "fog:***@host:4222" in output.getvalue()


def test_text_is_for_people() -> None:
    stream = io.StringIO()
    configure("gateway", "gateway-1", "INFO", "text", stream)
    structlog.get_logger().info("listening", port=7)
    assert "listening" in stream.getvalue()
    assert "port=7" in stream.getvalue()


def test_without_a_terminal_auto_means_json() -> None:
    stream = io.StringIO()
    configure("gateway", log_format="auto", stream=stream)
    structlog.get_logger().info("listening")
    assert lines(stream)[0]["event"] == "listening"

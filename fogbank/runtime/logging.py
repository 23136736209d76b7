"""Log lines: one JSON object each on standard output, or readable text on a terminal.

Everything comes out in one shape, whether it was written with structlog or with the standard
library; our own lines don't take the way through the latter, which costs three times as much. Each
line has `timestamp` (ISO, UTC), `level` (upper case), `event`, `logger`, `service`, `instance`.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress
from typing import IO, Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["json", "text", "auto"]

_MASK = "***"
_SECRET = re.compile(r"password|passwd|secret|token|authorization|credential|api_key|private_key")
_URL_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+@")
# These say at INFO what nobody asked for.
_QUIET = ("httpx2", "httpcore2", "asyncio", "grpc", "uvicorn.access", "aiodocker")


def configure(
    service: str,
    instance: str = "",
    level: str = "INFO",
    log_format: LogFormat = "auto",
    stream: IO[str] | None = None,
) -> None:
    """Send all log lines of this process to `stream` (standard output if none) from now on."""
    stream = stream or sys.stdout
    as_text = log_format == "text" or (log_format == "auto" and stream.isatty())
    identity = {"service": service} | ({"instance": instance} if instance else {})

    def add_identity(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.update(identity)
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        _upper_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _hide_secrets,
    ]
    last: list[Processor]
    if as_text:
        # Plain traces: the rich ones show local variables, and secrets are among those.
        last = [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    else:
        shared.append(add_identity)
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=lambda *names: _Lines(stream, *names),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


class _Lines(structlog.WriteLogger):
    """Writes lines to a stream, under a name."""

    def __init__(self, stream: IO[str], name: str = "fogbank") -> None:
        super().__init__(stream)  # type: ignore[arg-type]  # any text stream will do
        self.name = name

    def msg(self, message: str) -> None:
        """Write a line. A full disk costs the line, never the work that it tells of."""
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def _upper_level(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    name: str = record.levelname if record is not None else method
    event["level"] = {"warn": "WARNING", "exception": "ERROR"}.get(name, name.upper())
    return event


def _hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        event[key] = _hidden(key, value)
    return event


def _hidden(key: str, value: Any) -> Any:
    if key.startswith("_"):
        return value
    if _SECRET.search(key.lower()):
        return _MASK
    if isinstance(value, str):
        return _URL_PASSWORD.sub(rf"\1:{_MASK}@", value) if "://" in value else value
    if isinstance(value, dict):
        return {inner: _hidden(str(inner), content) for inner, content in value.items()}
    return value

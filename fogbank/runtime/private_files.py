"""Files for their owner alone: whole or not there, whatever cuts the power."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_PRIVATE_FILE = 0o600


def write_private(path: Path, text: str) -> None:
    """Put `text` into `path` in one step, readable by its owner alone.

    A reader sees the old text or the new one, also after a crash.
    """
    draft = _draft(path, text)
    draft.replace(path)
    sync_folder(path.parent)


def make_once(path: Path, text: str) -> None:
    """Make `path` with `text` in it, readable by its owner alone, unless there is such a file.

    Of two processes that do so at once the first one's stays. The folder is made if need be.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = _draft(path, text)
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have what was made or renamed in a folder survive a power cut."""
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    made = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE_FILE)
    with os.fdopen(made, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft

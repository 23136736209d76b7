"""Signed checkpoints as files of a folder, and the file with the keys that sign them."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fogbank.runtime.operator_error import OperatorError
from fogbank.runtime.private_files import make_once, sync_folder, write_private
from fogbank.transparency.note import NoteError, Signer, VerifierKey
from services.ledger.app.evidence import Keys
from services.ledger.core.snapshot_keeping import to_drop

_SUFFIX = ".checkpoint"
_DIGITS = 19  # of the largest sequence
_KEPT = 1_000


class CheckpointFolder:
    """A `CheckpointStore`: a file for each, named by the size of its tree.

    Of more than a thousand those stay that lie about evenly over the log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def write(self, size: int, note: str) -> None:
        await asyncio.to_thread(self._write, size, note)

    def _write(self, size: int, note: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{size:0{_DIGITS}}{_SUFFIX}"
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        # What was signed first stays, whatever comes later.
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
        sync_folder(self._folder)
        paths = self._paths()
        for dropped in to_drop(paths, _KEPT):
            paths[dropped].unlink(missing_ok=True)

    async def read(self) -> dict[int, str | OSError]:
        return await asyncio.to_thread(self._read)

    def _read(self) -> dict[int, str | OSError]:
        notes: dict[int, str | OSError] = {}
        for size, path in self._paths().items():
            try:
                notes[size] = _note(path)
            except FileNotFoundError:
                continue  # one of too many, which was dropped meanwhile
            except OSError as error:
                notes[size] = error
        return notes

    async def newest(self) -> tuple[int, str] | None:
        return await asyncio.to_thread(self._newest)

    def _newest(self) -> tuple[int, str] | None:
        paths = self._paths()
        size = max(paths, default=None)
        return None if size is None else (size, _note(paths[size]))

    def _paths(self) -> dict[int, Path]:
        found = self._folder.glob(f"*{_SUFFIX}")
        return {int(path.stem): path for path in found if path.stem.isdecimal()}


def _note(path: Path) -> str:
    # What is not UTF-8 is no note either, and its signature says so.
    return path.read_text(encoding="utf-8", errors="replace")


def read_keys(path: Path, name: str) -> Keys:
    """Return the keys of a file: lines of private keys, which sign, and of retired public ones.

    A file that isn't there is made, with a new key under `name`.

    Raises:
        OperatorError: the file can't be read or made, or a line of it is no key.
    """
    try:
        if not path.exists():
            make_once(path, f"{Signer(name, Ed25519PrivateKey.generate()).text}\n")
        lines = path.read_text(encoding="utf-8").splitlines()
        return _keys_of([line for line in lines if line.strip()])
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise OperatorError(f"FOG_CHECKPOINT_KEY_FILE {path}: {why}") from error


def add_key(path: Path, name: str) -> Keys:
    """Add a new key to a file of keys: from the ledger's next start on it signs beside the others.

    Raises:
        OperatorError: as `read_keys`, or the file can't be written.
    """
    keys = read_keys(path, name)
    added = Signer(name, Ed25519PrivateKey.generate())
    return _written(path, Keys((*keys.signers, added), keys.retired))


def retire_keys(path: Path, name: str) -> Keys:
    """Leave of all keys but the newest their public part: what they signed still counts.

    Raises:
        OperatorError: as `add_key`, or there is no newer key.
    """
    keys = read_keys(path, name)
    *former, newest = keys.signers
    if not former:
        raise OperatorError(f"{path} has one key that signs: add another one before it retires")
    retired = (*keys.retired, *(signer.verifier for signer in former))
    return _written(path, Keys((newest,), retired))


def _written(path: Path, keys: Keys) -> Keys:
    lines = (*(each.text for each in keys.retired), *(each.text for each in keys.signers))
    try:
        write_private(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise OperatorError(f"FOG_CHECKPOINT_KEY_FILE {path}: {error.strerror}") from error
    return keys


def _keys_of(lines: list[str]) -> Keys:
    signers, retired = [], []
    for number, line in enumerate(lines, start=1):
        try:
            if line.startswith("PRIVATE+KEY+"):
                signers.append(Signer.parse(line))
            else:
                retired.append(VerifierKey.parse(line))
        except NoteError:
            # The line may be a private key with a slip in it.
            raise ValueError(f"line {number} is no key") from None
    if not signers:
        raise ValueError("there is no private key in it")
    return Keys(tuple(signers), tuple(retired))

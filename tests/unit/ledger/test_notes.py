"""Which of the signed checkpoints that are kept a restore goes by."""

from __future__ import annotations

from pathlib import Path

import pytest

from fogbank.runtime.operator_error import OperatorError
from fogbank.runtime.settings import load
from fogbank.transparency.note import Checkpoint, sign
from services.ledger.adapters.checkpoint_files import CheckpointFolder, read_keys
from services.ledger.adapters.maintenance import notes_of
from services.ledger.settings import LedgerSettings

ORIGIN = "fogbank/default"


async def test_notes_that_are_bad_are_named_and_the_others_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@nowhere/none")
    monkeypatch.setenv("FOG_CHECKPOINT_DIR", str(tmp_path / "notes"))
    monkeypatch.setenv("FOG_CHECKPOINT_KEY_FILE", str(tmp_path / "keys"))
    settings = load(LedgerSettings)
    assert not (await notes_of(settings)).signed
    signers = read_keys(tmp_path / "keys", ORIGIN).signers
    folder = CheckpointFolder(tmp_path / "notes")
    await folder.write(3, "forged")
    with pytest.raises(OperatorError, match="the checkpoint of 3 commits"):
        await notes_of(settings)
    good = Checkpoint(ORIGIN, 5, bytes(32))
    await folder.write(5, sign(good, signers))
    await folder.write(7, sign(good, signers))
    notes = await notes_of(settings)
    assert (notes.signed, list(notes.bad)) == ({5: good}, [3, 7])

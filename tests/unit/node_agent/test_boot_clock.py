"""What the kernel says of the host's boots."""

from pathlib import Path
from uuid import UUID

import pytest

from services.node_agent.adapters import boot_clock


def test_a_boot_has_one_name() -> None:
    assert str(UUID(boot_clock.boot_id())) == boot_clock.boot_id()


def test_a_kernel_that_names_none_is_no_hindrance(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(boot_clock, "_BOOT_ID", tmp_path / "boot_id")
    assert boot_clock.boot_id() == ""

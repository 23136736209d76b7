"""`fog certificate`: a service's key and certificate, of the authority beside it."""

from pathlib import Path

import pytest

from fogbank.cli.certificate_command import certificate
from fogbank.cli.failures import CommandError
from fogbank.runtime.certificates import Authority, Certificate, Identity


def test_it_makes_what_a_service_shows_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate("ledger", tmp_path / "ca", ["ledger.example"], tmp_path / "out", 30, "edge")
    shown = (tmp_path / "out" / "ledger.crt").read_text()
    assert Authority.of_folder(tmp_path / "ca", "edge").signed(shown)
    assert Certificate.read(shown).identity == Identity("edge", "service", "ledger")
    assert (tmp_path / "out" / "ledger.key").stat().st_mode & 0o777 == 0o600
    told = capsys.readouterr().out
    assert "ledger.crt for ledger.example, 30 days" in told
    assert str(tmp_path / "ca" / "ca.crt") in told


def test_what_it_can_t_use_is_named(tmp_path: Path) -> None:
    (tmp_path / "authority.pem").write_text("nonsense")
    with pytest.raises(CommandError, match=r"authority\.pem: the key can't be read"):
        certificate("ledger", tmp_path, [], tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot write to"):
        certificate("ledger", tmp_path / "ca", [], tmp_path / "file")

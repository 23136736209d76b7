"""The embedded database's files."""

from pathlib import Path

import pytest

from fogbank.local import postgres


def test_the_password_is_never_in_a_file_that_others_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind = tmp_path / "postgres.password"
    left_behind.write_text("")
    left_behind.chmod(0o644)
    shown: list[tuple[str, int]] = []

    def run(*_args: object, **_named: object) -> None:
        shown.append((left_behind.read_text(), left_behind.stat().st_mode & 0o777))

    monkeypatch.setattr(postgres, "_run", run)
    with left_behind.open() as another:
        postgres._make_cluster(tmp_path / "postgres", "the-password", None)
        assert another.read() == ""
    assert shown == [("the-password", 0o600)] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["postgres"]

"""What is read of an engine's words, and which credentials are whose."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from services.node_agent.adapters.images import PullMeter, digest_of
from services.node_agent.adapters.registry_credentials import full_name, login_for
from services.node_agent.app.ports import RuntimeFaultError
from services.node_agent.app.preparing import ProgressReports

SECRET = "open-sesame"


def layer(name: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    return {"id": name, "status": status, "progressDetail": {"current": current, "total": total}}


def test_a_share_grows_and_never_falls() -> None:
    meter = PullMeter()
    steps = [
        {"status": "Pulling from library/nginx", "id": "1"},
        layer("a", "Downloading", 20, 100),
        layer("a", "Downloading", 80, 100),
        layer("b", "Downloading", 0, 300),
        layer("a", "Download complete"),
        layer("a", "Extracting", 1, 100),
        layer("b", "Downloading", 300, 300),
    ]
    said = [meter.take(step) for step in steps]
    assert said == ["pulling", *(f"pulling {share} %" for share in (20, 80, 80, 80, 80, 99))]


def test_a_digest_is_that_of_the_registry() -> None:
    shown = {"RepoDigests": ["b/x@sha256:2", "a/x@sha256:1"]}
    assert digest_of("a/x:1", shown) == "sha256:1"
    assert digest_of("b/x@sha256:2", shown) == "sha256:2"
    assert digest_of("b/x@sha256:3", shown) == "sha256:1"
    assert digest_of("made-here", {"RepoDigests": None}) == ""


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("bitnami/nginx", "docker.io/bitnami/nginx"),
        ("localhost/nginx", "localhost/nginx"),
        ("host:5000/a/b@sha256:1", "host:5000/a/b@sha256:1"),
        ("quay.io/a/b", "quay.io/a/b"),
    ],
)
def test_names_are_of_a_registry(image: str, full: str) -> None:
    assert full_name(image) == full


def a_file(folder: Path, **auths: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"auths": auths, "credsStore": "x"}))
    return path


def test_the_longest_entry_that_fits_counts(tmp_path: Path) -> None:
    def user(name: str) -> dict[str, str]:
        return {"auth": base64.b64encode(f"{name}:{SECRET}".encode()).decode()}

    path = a_file(
        tmp_path,
        **{
            "https://index.docker.io/v1/": user("hub"),
            "quay.io": user("quay"),
            "quay.io/org": user("org"),
            "quay.io/org/app": user("app"),
            "host.io:5000/org/app": user("port"),
            "https://token.io": {"identitytoken": SECRET},
            "plain.io": {"username": "plain", "password": SECRET},
        },
    )
    found = {
        image: login.auth.get("username", "token") if (login := login_for(image, path)) else None
        for image in ("nginx", "quay.io/a", "quay.io/org/a@sha256:1", "quay.io/organ/a", "x.io/a")
    }
    assert list(found.values()) == ["hub", "quay", "org", "quay", None]
    for image, name in {
        "nginx:1": "hub",
        "quay.io/org/app": "app",
        "quay.io/org/app:1.0": "app",
        "quay.io/org/app:1.0@sha256:1": "app",
        "quay.io/org/apple:1.0": "org",
        "host.io:5000/org/app:1.0": "port",
    }.items():
        login = login_for(image, path)
        assert login is not None
        assert login.auth["username"] == name
    token = login_for("token.io/a", path)
    assert token is not None
    assert token.auth == {"identitytoken": SECRET}
    assert SECRET not in repr(token)
    assert login_for("nginx", None) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": []}'])
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(RuntimeFaultError, match=r"config\.json: must be JSON"):
        login_for("nginx", path)


def test_a_bad_entry_is_refused_without_what_it_holds(tmp_path: Path) -> None:
    for entry in ({"auth": SECRET}, {"username": SECRET}, SECRET):
        path = a_file(tmp_path, **{"docker.io": entry})
        with pytest.raises(RuntimeFaultError, match=r"entry for docker\.io needs auth") as refused:
            login_for("nginx", path)
        assert SECRET not in str(refused.value)
    with pytest.raises(RuntimeFaultError, match="No such file"):
        login_for("nginx", tmp_path / "absent.json")


def test_progress_is_told_at_a_rate() -> None:
    now_us, told = 0, list[str]()
    reports = ProgressReports(told.append, lambda: now_us, every_s=10)
    for second in range(35):
        now_us = second * 1_000_000
        reports.note(f"pulling {second} %")
    now_us = 50_000_000
    reports.note("pulling 30 %")
    reports.tell("pulled")
    assert told == ["pulling 10 %", "pulling 20 %", "pulling 30 %", "pulled"]

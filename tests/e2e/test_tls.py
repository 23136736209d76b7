"""`fog up --tls` from the outside: nobody speaks plainly; a host joins, works, is removed."""

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest

from tests.support.fog_up import ROOT, FogUp, fog, fog_up
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fog-up-tls")]

# Another of this machine's own addresses.
HOST = "127.0.0.2"
# Long enough for a busy machine to renew in time, short enough to be waited for.
CERTIFICATE_S = "30"


@pytest.fixture(scope="module")
def system() -> Generator[FogUp]:
    env = {"FOG_AGENT_CERTIFICATE_S": CERTIFICATE_S}
    with fog_up("--tls", "--host", HOST, "--nodes", "1", env=env) as running:
        yield running


@contextmanager
def host(folder: Path, settings: Mapping[str, str], name: str) -> Generator[Path]:
    """Run an agent on another data folder while the context lasts; yield its log."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FOG_")}
    described = [{"name": name, "cpu": 4, "data_dir": str(folder / "node")}]
    environment = kept | {
        "PYTHONPATH": str(ROOT),
        "FOG_DATA_DIR": str(folder),
        "FOG_NODES": json.dumps(described),
        "FOG_RUNTIME": "simulated",
        **settings,
    }
    log = folder / "log"
    folder.mkdir(exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.node_agent.main"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def joining(system: FogUp, *arguments: str) -> dict[str, str]:
    """Make a token and return the settings that it takes to join."""
    made = fog(system, "nodes", "token", *arguments, "-o", "json")
    assert made.returncode == 0, made.stderr
    token = json.loads(made.stdout)
    return {
        "FOG_JOIN_TOKEN": token["token"],
        "FOG_JOIN_ADDR": token["join_address"],
        "FOG_GATEWAY_ADDRS": token["agent_address"],
    }


def said(log: Path, text: str) -> None:
    eventually_sync(lambda: text in log.read_text(errors="replace"), what=f"{text!r} in the log")


def test_no_listener_speaks_plainly(system: FogUp) -> None:
    ports = [port for name, port in system.ports.items() if name.endswith(("grpc", "agents"))]
    assert len(ports) == 4
    for port in ports:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=30)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, port
    assert system.http.startswith(f"https://{HOST}:")
    trusting = ssl.create_default_context(cafile=system.state["ca"])
    with urlopen(  # noqa: S310
        f"{system.http}/readiness", timeout=30, context=trusting
    ) as answer:
        assert answer.status == 200


def test_who_signs_in_from_elsewhere_names_whom_to_trust(system: FogUp, tmp_path: Path) -> None:
    def elsewhere(*arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("FOG_")}
        return subprocess.run(
            [sys.executable, "-m", "fogbank.cli.main", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=tmp_path,
            env=kept | {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path)},
            input=f"{system.state['admin_password']}\n",
        )

    sign_in = ("login", "--addr", system.grpc, "--user", "admin", "--password-stdin")
    assert elsewhere(*sign_in).returncode == 1
    signed_in = elsewhere(*sign_in, "--ca", system.state["ca"])
    assert signed_in.returncode == 0, signed_in.stderr
    listed = elsewhere("nodes", "-o", "name")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.split() == ["store-east-1"]


def test_a_host_joins_works_renews_and_is_removed(system: FogUp, tmp_path: Path) -> None:
    settings = joining(system, "--uses", "1")
    assert fog(system, "nodes", "cordon", "store-east-1").returncode == 0
    with host(tmp_path / "second", settings, "second") as log:
        said(log, "joined")
        certificate = tmp_path / "second" / "node" / "node.crt"
        first = certificate.read_text()
        eventually_sync(
            lambda: "second" in fog(system, "nodes", "-o", "name").stdout, what="the node"
        )
        deployed = fog(system, "deploy", "there", "--image", "x", "--wait")
        assert deployed.returncode == 0, deployed.stderr
        with host(tmp_path / "third", settings, "third") as other:
            said(other, "the join token is used up: make another with `fog nodes token`")
        eventually_sync(lambda: certificate.read_text() != first, what="a new certificate")
        removed = fog(system, "nodes", "remove", "second", "--force", "--yes")
        assert removed.returncode == 0, removed.stderr
        said(log, "was removed from the fleet")
    with host(tmp_path / "second", {**settings, "FOG_JOIN_TOKEN": ""}, "second") as log:
        eventually_sync(
            lambda: log.read_text().count("was removed from the fleet") > 1, what="the refusal"
        )
    assert fog(system, "nodes", "uncordon", "store-east-1").returncode == 0


def test_it_carries_on_with_tls_unasked(system: FogUp) -> None:
    """The last test: the system that others used stops, and starts as it was."""
    before = system.state
    assert system.stop() == 0
    plain = FogUp(system.data_dir, "--host", HOST)
    after = plain.start()
    try:
        same = ("grpc", "http", "ca")
        assert {key: after[key] for key in same} == {key: before[key] for key in same}
    finally:
        plain.end()
    system.start()

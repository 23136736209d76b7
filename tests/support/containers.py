"""A container engine for tests: podman's service with a store of its own, and offline images.

Nothing of it touches the machine's own containers: images, containers and the socket lie in a
temporary folder. When the tests end, the service is ended and what it had is removed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from services.node_agent.app.ports import ContainerRuntime
from tests.support.waiting import eventually_sync

_BUSYBOX = Path("/usr/bin/busybox")
_TOOLS = ("cat", "echo", "hostname", "httpd", "kill", "mkdir", "sh", "sleep", "wget")
# A page that names its container, and an end as soon as somebody asks for one.
_SERVE = (
    'trap "echo bye; exit 0" TERM; mkdir -p /tmp/www; '
    'echo "page of $(hostname)" > /tmp/www/index.html; '
    "httpd -f -p 80 -h /tmp/www & echo serving; wait"
)
RUNS = "localhost/fogbank-test/page:1"
EXITS_WITH_3 = "localhost/fogbank-test/exits:1"
STUBBORN = "localhost/fogbank-test/stubborn:1"
_SERVED = "localhost/fogbank-test/served:1"
UNSTARTABLE = "localhost/fogbank-test/unstartable:1"
IMAGES: dict[str, Sequence[str]] = {
    RUNS: ("/bin/sh", "-c", _SERVE),
    EXITS_WITH_3: ("/bin/sh", "-c", "echo about to end; exit 3"),
    STUBBORN: ("/bin/sh", "-c", 'trap "" TERM; echo stubborn; while :; do sleep 1; done'),
    UNSTARTABLE: ("/no/such/program",),
}


def why_no_engine() -> str:
    """Return why containers can't be run here; empty if they can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in ("podman", "runc") if shutil.which(name) is None]
    if missing:
        return f"needs {' and '.join(missing)}"
    return "" if _BUSYBOX.exists() else "needs busybox-static"


class PodmanEngine:
    """Podman's service on a socket of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "engine.sock"
        self._service: subprocess.Popen[bytes] | None = None
        self._log = folder / "service.log"
        (folder / "registries.conf").write_text(
            '[[registry]]\nlocation = "127.0.0.1"\ninsecure = true\n', encoding="utf-8"
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self.socket}"

    def podman(self, *arguments: str, check: bool = True) -> str:
        """Run a podman command on the same store and return what it printed."""
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        if check and done.returncode:
            raise AssertionError(f"podman {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    @property
    def _command(self) -> list[str]:
        return [
            *(
                "podman",
                "--root",
                str(self.folder / "store"),
                "--runroot",
                str(self.folder / "run"),
            ),
            *("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
            *("--tmpdir", str(self.folder / "tmp")),
        ]

    def start(self) -> None:
        """Start the service and wait until it answers."""
        with self._log.open("ab") as log:
            self._service = subprocess.Popen(
                [*self._command, "system", "service", "--time=0", self.url],
                stdout=log,
                stderr=log,
                env=dict(os.environ)
                | {"CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf")},
            )
        eventually_sync(self._listens, 120, what="podman's service")

    def _listens(self) -> bool:
        assert self._service is not None
        if self._service.poll() is not None:
            raise AssertionError(f"podman's service ended: {self._log.read_text()}")
        return self.socket.exists()

    def stop(self) -> None:
        """End the service by force; containers run on."""
        if self._service is not None:
            self._service.kill()
            self._service.wait(60)
            self._service = None
        self.socket.unlink(missing_ok=True)

    def containers(self, *, running_only: bool = False) -> list[dict[str, Any]]:
        """Return the containers that there are, as podman lists them."""
        everything = () if running_only else ("--all",)
        listed: list[dict[str, Any]] = json.loads(
            self.podman("ps", *everything, "--format", "json") or "[]"
        )
        return listed

    def address(self, container_id: str) -> str:
        """Return a container's address in the bridge network."""
        return self.podman(
            "inspect",
            "--format",
            "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
            container_id,
        )

    def make_images(self) -> None:
        """Import the offline images."""
        _write_root(self._archive, self.folder / "root")
        for name, command in IMAGES.items():
            self.make_image(name, command)

    def make_image(self, name: str, command: Sequence[str], *changes: str) -> None:
        """Import an image of its own that runs the command."""
        wanted = [f"CMD {json.dumps(list(command))}", *changes]
        given = [part for change in wanted for part in ("--change", change)]
        self.podman("import", "--quiet", *given, str(self._archive), name)

    def remove_containers(self, *, check: bool = True) -> None:
        """Remove all containers, and the networks of deployments that they are in.

        Engines of a machine share their networks, so those of other engines must stay.
        """
        listed = self.podman("ps", "--all", "--format", "{{.Networks}}", check=False)
        self.podman("rm", "--all", "--force", "--time", "0", check=check)
        networks = {name for name in listed.split() if name.startswith("fogbank-")}
        if networks:
            self.podman("network", "rm", *sorted(networks), check=check)

    @property
    def _archive(self) -> Path:
        return self.folder / "image.tar"

    def end(self) -> None:
        """Remove all containers and the service."""
        self.remove_containers(check=False)
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _write_root(archive: Path, root: Path) -> None:
    binaries = root / "bin"
    binaries.mkdir(parents=True)
    shutil.copy(_BUSYBOX, binaries / "busybox")
    for tool in _TOOLS:
        (binaries / tool).symlink_to("busybox")
    for folder in ("dev", "etc", "proc", "sys", "tmp"):
        (root / folder).mkdir()
    with tarfile.open(archive, "w") as tar:
        tar.add(root, arcname=".")


def remove_all(engine: PodmanEngine) -> None:
    """Remove every container of the test that just ran."""
    engine.remove_containers()


def returning(node_id: str) -> Callable[[], Awaitable[str]]:
    """Return what tells a runtime its node's id."""

    async def identity() -> str:
        return node_id

    return identity


async def lines_of(runtime: ContainerRuntime, replica_id: str, tail: int) -> list[str]:
    """Return what a replica's container wrote last."""
    return "".join([piece async for piece in runtime.logs(replica_id, tail)]).splitlines()


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that has one image and says of all others that it doesn't know them."""

    address: str
    image: str
    digest: str


class Heard:
    """A `Progress` that remembers what it heard."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.told: list[str] = []

    def note(self, text: str) -> None:
        """Take in how far it is."""
        self.noted.append(text)

    def tell(self, text: str) -> None:
        """Take in what is to be known."""
        self.told.append(text)


@contextmanager
def image_registry(engine: PodmanEngine, login: str = "") -> Generator[Registry]:
    """Serve an image like RUNS, which the engine does not have, from a registry on this machine.

    With a `login` (`user:password`) it wants to be shown that.
    """
    folder = engine.folder / "registry"
    if not folder.exists():
        engine.make_image(_SERVED, IMAGES[RUNS], "LABEL served=yes")
        engine.podman("save", "--quiet", "--format", "docker-dir", "--output", str(folder), _SERVED)
        engine.podman("rmi", "--force", _SERVED)

    class Handler(_RegistryHandler):
        blobs = folder
        manifest = (folder / "manifest.json").read_bytes()
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        wants = f"Basic {base64.b64encode(login.encode()).decode()}" if login else ""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"127.0.0.1:{server.server_port}"
    try:
        yield Registry(address, f"{address}/page:1", Handler.digest)
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class _RegistryHandler(BaseHTTPRequestHandler):
    """As much of the distribution protocol as a pull needs."""

    blobs: Path
    manifest: bytes
    digest: str
    wants: str

    def do_GET(self) -> None:
        if self.wants and self.headers.get("Authorization") != self.wants:
            problem = b'{"errors": [{"code": "UNAUTHORIZED", "message": "no, thanks"}]}'
            self._answer("application/json", problem, status=401)
        elif self.path == "/v2/":
            self._answer("application/json", b"{}")
        elif self.path in {"/v2/page/manifests/1", f"/v2/page/manifests/{self.digest}"}:
            self._answer(json.loads(self.manifest)["mediaType"], self.manifest)
        elif self.path.startswith("/v2/page/blobs/sha256:"):
            name = Path(self.path.rpartition(":")[2]).name
            self._answer("application/octet-stream", (self.blobs / name).read_bytes())
        else:
            problem = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
            self._answer("application/json", problem, status=404)

    do_HEAD = do_GET  # noqa: N815 (as above)

    def _answer(self, content_type: str, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def podman_engine() -> Generator[PodmanEngine]:
    """Run an engine with the offline images; skips the test where there can't be one."""
    if why := why_no_engine():
        pytest.skip(f"no container engine: {why}")
    # Short: the path of a socket must not be longer than 107 characters.
    engine = PodmanEngine(Path(tempfile.mkdtemp(prefix="fog-engine-")))
    try:
        engine.start()
        engine.make_images()
        yield engine
    finally:
        engine.end()

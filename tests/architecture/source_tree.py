"""The project's own Python, parsed when it is looked at: what the architecture tests look at."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Where hand-written Python lives; generated stubs in fogbank/v1 are nobody's prose.
CODE_FOLDERS = ("fogbank", "services", "tests", "bench", "deploy")

# Folders whose code decides: it gets instants, ids and data handed in, and does nothing outside.
PURE_PATHS = ("fogbank/domain", "fogbank/placement", "fogbank/codec", "fogbank/checker")
PURE_FOLDER_OF_A_SERVICE = "core"


@dataclass(frozen=True)
class SourceFile:
    """A Python file: its path from the project's root, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, filename=self.path)

    def forget_tree(self) -> None:
        """Let go of the tree, if there is one; all of them are a million and a half objects."""
        self.__dict__.pop("tree", None)

    @property
    def is_pure(self) -> bool:
        """Whether this is one of the places that may only compute."""
        parts = self.path.split("/")
        if parts[0] == "services" and len(parts) > 2:
            return parts[2] in (PURE_FOLDER_OF_A_SERVICE, f"{PURE_FOLDER_OF_A_SERVICE}.py")
        return self.path.startswith(tuple(f"{folder}/" for folder in PURE_PATHS))

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Every call whose target is a name imported or built in, with its full dotted name."""
        origins = self.origins
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                name = dotted(node.func, origins)
                if name is not None:
                    yield node, name

    def references(self) -> Iterator[tuple[int, str]]:
        """Every use of an imported or built-in name, called or not: line and full dotted name."""
        origins = self.origins
        local = self.own_names - origins.keys()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    yield node.lineno, f"{node.module}.{alias.name}"
            elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
                name = dotted(node, origins)
                if name is not None and name.partition(".")[0] not in local:
                    yield node.lineno, name

    @property
    def origins(self) -> dict[str, str]:
        """What each imported local name stands for: `{"dt": "datetime", "sleep": "time.sleep"}`."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname:
                        found[alias.asname] = alias.name
                    else:
                        top = alias.name.partition(".")[0]
                        found[top] = top
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return found

    @property
    def imported_packages(self) -> frozenset[str]:
        """The top-level names of everything the file imports."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
        return frozenset(found)

    @property
    def own_names(self) -> frozenset[str]:
        """Names the file itself binds: parameters, variables, functions, classes."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                found.add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
        return frozenset(found)


def dotted(node: ast.expr, origins: dict[str, str]) -> str | None:
    """The full name of `a.b.c`, with `a` replaced by what it was imported as; else None."""
    if isinstance(node, ast.Name):
        return origins.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, origins)
        return None if owner is None else f"{owner}.{node.attr}"
    return None


def is_generated(path: Path) -> bool:
    """Whether protoc wrote this file."""
    return path.stem.endswith(("_pb2", "_pb2_grpc"))


@cache
def source_files() -> tuple[SourceFile, ...]:
    """All hand-written Python of the project, tracked by git or not yet, in the order of paths."""
    files = []
    for folder in CODE_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not is_generated(path):
                text = path.read_text(encoding="utf-8")
                name = path.relative_to(ROOT).as_posix()
                files.append(SourceFile(name, text))
    return tuple(files)


@cache
def tracked_paths() -> tuple[str, ...]:
    """The paths git keeps, from the root; outside a repository, everything not hidden."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode == 0:
        names = [name for name in listing.stdout.split("\0") if name]
        return tuple(name for name in names if (ROOT / name).is_file())
    return tuple(
        path.relative_to(ROOT).as_posix()
        for path in sorted(ROOT.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    )


def report(problems: list[str], advice: str) -> str:
    """One readable message: what is wrong where, then what to do about it."""
    return "\n  ".join(["", *problems, "", advice])

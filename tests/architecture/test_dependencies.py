"""Every dependency is justified, and the lock holds every one of them."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.source_tree import CODE_FOLDERS, ROOT, report, source_files

pytestmark = pytest.mark.xdist_group("source")

TABLE = "docs/adr/0007-dependencies.md"
LOCK = "requirements.lock"


def _requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    texts = [
        *project["project"]["dependencies"],
        *(line for extra in project["project"]["optional-dependencies"].values() for line in extra),
        *(line for group in project["dependency-groups"].values() for line in group),
    ]
    found = [Requirement(text) for text in texts]
    return [requirement for requirement in found if requirement.name != "fogbank"]


def test_each_dependency_has_its_reason() -> None:
    table = (ROOT / TABLE).read_text(encoding="utf-8")
    explained = {canonicalize_name(name) for name in re.findall(r"`([A-Za-z0-9._-]+)`", table)}
    problems = sorted(
        {
            requirement.name
            for requirement in _requirements()
            if canonicalize_name(requirement.name) not in explained
        }
    )
    assert not problems, report(
        problems, f"Add a row to {TABLE}: one sentence on why this library and not code of our own."
    )


def test_the_lock_answers_pyproject() -> None:
    pins: dict[str, list[str]] = {}
    for name, version in re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)",
        (ROOT / LOCK).read_text(encoding="utf-8"),
        re.MULTILINE,
    ):
        pins.setdefault(canonicalize_name(name), []).append(version)
    problems = [
        f"{requirement} (locked: {', '.join(pins.get(canonicalize_name(requirement.name), ['-']))})"
        for requirement in _requirements()
        if not any(
            requirement.specifier.contains(version, prereleases=True)
            for version in pins.get(canonicalize_name(requirement.name), [])
        )
    ]
    assert not problems, report(problems, "Run `make lock` and commit requirements.lock.")


def test_every_imported_library_is_declared() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in _requirements()}
    owners = packages_distributions()
    own = {*CODE_FOLDERS, *sys.stdlib_module_names}
    problems = sorted(
        {
            f"{file.path} imports {module}"
            for file in source_files()
            for module in file.imported_packages - own
            if not declared.intersection(map(canonicalize_name, owners.get(module, [])))
        }
    )
    assert not problems, report(
        problems,
        "Declare it in pyproject.toml, run `make lock`: what others bring may go with them.",
    )

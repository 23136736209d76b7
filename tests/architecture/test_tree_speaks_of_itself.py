"""What is committed makes sense to anyone, on any machine: no private paths, no package hosts."""

import re

from tests.architecture.source_tree import ROOT, report, tracked_paths

# Put together here so that this file doesn't hold what it forbids.
PACKAGE_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("proxy", "golang", "org"),
        ("static", "crates", "io"),
    )
)
HOME = re.compile(r"(?<![\w.$}])/(?:root|home/[a-z_][\w-]*|Users/[A-Za-z]\w*)/")
LARGEST_TEXT = 2_000_000


def _texts() -> list[tuple[str, str]]:
    found = []
    for name in tracked_paths():
        raw = (ROOT / name).read_bytes()
        if len(raw) <= LARGEST_TEXT and b"\0" not in raw:
            found.append((name, raw.decode("utf-8", errors="replace")))
    return found


def test_no_file_names_the_home_of_a_person() -> None:
    problems = [
        f"{name}:{number} {match.group()}"
        for name, text in _texts()
        for number, line in enumerate(text.splitlines(), start=1)
        for match in HOME.finditer(line)
    ]
    assert not problems, report(
        problems, "Write a path from the project's root, or one that a setting names."
    )


def test_no_file_names_a_package_host() -> None:
    problems = [
        f"{name}: {host}" for name, text in _texts() for host in PACKAGE_HOSTS if host in text
    ]
    assert not problems, report(
        problems,
        "Where packages come from is for each machine to say. If a lock file brought this in, "
        "see docs/adr/ on requirements.lock.",
    )

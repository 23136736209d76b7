"""Cores compute: clocks, chance, disks and the environment are handed to them, never asked.

The import contracts in pyproject.toml ban whole modules; here are the calls that hide in modules
which are otherwise welcome.
"""

import pytest

from tests.architecture.source_tree import SourceFile, report, source_files

CLOCKS = (
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "time",
)
CHANCE = ("random", "secrets", "numpy.random", "uuid.uuid1", "uuid.uuid3", "uuid.uuid4")
OUTSIDE = ("os", "sys", "io", "socket", "subprocess", "pathlib.Path", "tempfile", "shutil")
TALK = ("logging", "structlog", "warnings")
BUILTINS = ("open", "print", "input", "breakpoint", "exec", "eval")
# Differ from one process to the next, so two replicas would disagree.
UNSTABLE = ("hash", "id")

ADVICE = {
    CLOCKS: "Take the instant as a parameter; it arrives with the command or the round.",
    CHANCE: "Take the id or the seed as a parameter, or derive the id with uuid5.",
    OUTSIDE: "Move the access to an adapter and hand the result in.",
    TALK: "Return what happened; the app layer logs it.",
    BUILTINS: "A core neither reads, writes nor evaluates; return a value and let the shell act.",
    UNSTABLE: "Order and identity must not depend on the process: use a digest or a stable key.",
}

PURE_FILES = [pytest.param(file, id=file.path) for file in source_files() if file.is_pure]


def _forbidden(name: str, banned: tuple[str, ...]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in banned)


@pytest.mark.parametrize("file", PURE_FILES)
def test_pure_code_asks_nothing_of_the_world(file: SourceFile) -> None:
    for banned, advice in ADVICE.items():
        problems = sorted(
            {
                f"{file.path}:{line} uses {name}"
                for line, name in file.references()
                if _forbidden(name, banned)
            }
        )
        assert not problems, report(problems, advice)

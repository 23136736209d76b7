"""Cores compute: clocks, chance, disks and the environment are handed to them, never asked.

The import contracts in pyproject.toml ban whole modules; here are the calls that hide in modules
which are otherwise welcome.
"""

from collections.abc import Iterator

import pytest

from tests.architecture.source_tree import SourceFile, report, source_files

pytestmark = pytest.mark.xdist_group("source")

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


@pytest.mark.parametrize("file", PURE_FILES)
def test_pure_code_asks_nothing_of_the_world(file: SourceFile) -> None:
    problems = sorted({f"{file.path}:{line} {text}" for line, text in impurities(file)})
    assert not problems, report(problems, "Pure code computes from what it is given.")


def impurities(file: SourceFile) -> Iterator[tuple[int, str]]:
    """Where the file reaches outside, and what to do instead."""
    for line, name in file.references():
        for banned, advice in ADVICE.items():
            if any(name == entry or name.startswith(f"{entry}.") for entry in banned):
                yield line, f"uses {name}. {advice}"


@pytest.mark.parametrize(
    "source",
    [
        "import datetime as dt\nnow = dt.datetime.now()",
        "from datetime import datetime\nclock = datetime.now",
        "from uuid import uuid4",
        "import numpy as np\nnp.random.default_rng()",
        "import os\nos.environ['X']",
        "with open('x') as f: pass",
        "key = hash('text')",
    ],
)
def test_the_check_sees_what_it_is_for(source: str) -> None:
    assert list(impurities(SourceFile("fogbank/domain/x.py", source)))


@pytest.mark.parametrize(
    "source",
    [
        "from uuid import UUID, uuid5",
        "from datetime import datetime, timedelta",
        "def f(id: int, time: int) -> int:\n    return id + time",
    ],
)
def test_the_check_leaves_innocent_code_alone(source: str) -> None:
    assert not list(impurities(SourceFile("fogbank/domain/x.py", source)))

"""What every test shares: options of the run and the settings of hypothesis."""

from collections.abc import Generator

import pytest
import structlog
from _pytest.nodeid import NodeId
from hypothesis import HealthCheck, settings

from tests.support.containers import PodmanEngine, podman_engine

# One machine may be ten times slower than the next: examples are counted, not timed. They are the
# same ones each time, so that what fails fails again; hunts for others belong to the thorough ones.
settings.register_profile(
    "quick",
    deadline=None,
    max_examples=50,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough", parent=settings.get_profile("quick"), max_examples=2000, derandomize=False
)
settings.load_profile("quick")

# By default a logged exception is drawn with the variables of every frame: seconds of work each.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(scope="session")
def podman() -> Generator[PodmanEngine]:
    """An engine for real containers, with a store of its own."""
    with podman_engine() as engine:
        yield engine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-containers",
        action="store_true",
        help="a container test that skips itself counts as failed",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Container tests share one engine: under xdist they run one after the other.

    xdist 3.8 tells its scheduler of a group by a suffix of the node id, which it puts where
    pytest 9.2 no longer looks: groups would be ignored in silence.
    """
    for item in items:
        if item.get_closest_marker("container"):
            item.add_marker(pytest.mark.xdist_group("containers"))
        group = item.get_closest_marker("xdist_group")
        grouping = getattr(config.option, "loadgroup", False)
        if group is not None and grouping and "@" not in item.nodeid.rpartition("]")[2]:
            item._id = NodeId.parse(f"{item.nodeid}@{group.args[0]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    required = item.config.getoption("--require-containers")
    if required and report.skipped and item.get_closest_marker("container"):
        report.outcome = "failed"
        report.longrepr = f"skipped although --require-containers was given: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself as a whole hides its markers, so it may not when they count."""
    report = yield
    if report.skipped and collector.config.getoption("--require-containers"):
        report.outcome = "failed"
        report.longrepr = (
            f"module skipped although --require-containers was given: {report.longrepr}"
        )
    return report

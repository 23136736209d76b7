"""The source is parsed by one worker, which forgets it: every collection of garbage after would go
through it.
"""

from collections.abc import Iterator

import pytest

from tests.architecture.source_tree import source_files


@pytest.fixture(scope="package", autouse=True)
def parsed_source() -> Iterator[None]:
    yield
    for file in source_files():
        file.forget_tree()

"""What an agent notes of the images that it fetched."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.node_agent.adapters import image_collector
from services.node_agent.adapters.image_collector import ImageUses
from services.node_agent.adapters.node_folder import write_whole


def test_images_that_are_fetched_at_once_are_all_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, most = 0, 0
    counting = threading.Lock()
    another = threading.Event()

    def write(path: Path, data: bytes, *, sync: bool) -> None:
        nonlocal under_way, most
        with counting:
            under_way += 1
            most = max(most, under_way)
            if under_way > 1:
                another.set()
        another.wait(0.05)
        write_whole(path, data, sync=sync)
        with counting:
            under_way -= 1

    monkeypatch.setattr(image_collector, "write_whole", write)
    path = tmp_path / "images.json"
    uses = ImageUses(path, lambda: 1)
    uses.need("abcd")  # as whoever fetches says first
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(uses.fetched, "abcd"))
    assert most == 1
    assert ImageUses(path, lambda: 2).all() == dict.fromkeys("abcd", 1)

"""The page at `/`: it is whole, brings all it needs, and lets nothing else run in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from tests.support.rest_face import RestFace, rest_face

# What a page or a module of it names: by src, href, or import.
_NAMED = re.compile(r'(?:src|href)="(/dashboard/[^"]+)"|from "\./([^"]+)"')


@pytest.fixture
async def face() -> AsyncIterator[RestFace]:
    async with rest_face() as running:
        yield running


async def test_the_page_and_all_that_it_names_is_served(face: RestFace) -> None:
    async with face.client(None) as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        found = {"/": page}
        named = [("/", page.text)]
        while named:
            where, text = named.pop()
            folder = "/dashboard/" if "/vendor/" not in where else "/dashboard/vendor/"
            for absolute, relative in _NAMED.findall(text):
                path = absolute or folder + relative
                if path not in found:
                    found[path] = await client.get(path)
                    assert found[path].status_code == 200, f"{where} names {path}"
                    named.append((path, found[path].text))
    assert {"/dashboard/main.js", "/dashboard/api.js", "/dashboard/style.css"} <= found.keys()
    assert all(
        "javascript" in answer.headers["content-type"]
        for path, answer in found.items()
        if path.endswith(".js")
    )


async def test_only_files_of_its_own_run_in_the_page(face: RestFace) -> None:
    async with face.client(None) as client:
        page = await client.get("/")
        policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    # The policy forbids what stands in the page itself, which would then just not work.
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page.text) == []


async def test_an_unchanged_page_is_not_sent_again(face: RestFace) -> None:
    async with face.client(None) as client:
        script = await client.get("/dashboard/main.js")
        again = await client.get(
            "/dashboard/main.js", headers={"If-None-Match": script.headers["etag"]}
        )
    assert again.status_code == 304


async def test_nothing_but_its_files_is_served(face: RestFace) -> None:
    async with face.client(None) as client:
        for path in ("none.js", "../dashboard.py", "%2e%2e/dashboard.py", "", "vendor"):
            answer = await client.get(f"/dashboard/{path}")
            assert answer.status_code == 404, path
            assert answer.json() == {"detail": "Not Found"}

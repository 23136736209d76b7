"""The page at `/`: the REST face for people who would rather look than read.

It is made of files alone, and asks as any other client does: with its user's token.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

_FILES = Path(__file__).parent / "static"
# Nothing but this gateway's own files runs in it or is asked by it, and nobody frames it.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    # Asked for each time, and answered by 304: a gateway of another version brings other files.
    "Cache-Control": "no-cache",
}

# Serves what the page consists of, under `/dashboard`.
FILES = StaticFiles(directory=_FILES)

router = APIRouter()


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Show the dashboard; it signs its user in by itself."""
    return FileResponse(_FILES / "page.html", headers=_HEADERS)

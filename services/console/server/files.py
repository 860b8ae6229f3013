"""The pages' files, read and compressed once. No path leads to any other file."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from litestar import Response, get
from litestar.params import FromPath

from services.console.web.needs import PUBLIC
from services.console.web.parameters import AnyRequest
from services.console.web.refused import Refused

FOLDER = Path(__file__).parent.parent / "pages"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


class File(NamedTuple):
    """plain, packed: its bytes, and the same by gzip. tag: ETag of these bytes."""

    type: str
    plain: bytes
    packed: bytes
    tag: str


@cache
def files() -> dict[str, File]:
    """Return the files by their path below `pages/`."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in _TYPES:
            data = path.read_bytes()
            tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
            found[path.relative_to(FOLDER).as_posix()] = File(_TYPES[path.suffix], data, gzip.compress(data, 9), tag)
    return found


@get("/", opt=PUBLIC, include_in_schema=False)
async def index(request: AnyRequest) -> Response[bytes]:
    """The page that loads all others."""
    return _answer(request, "index.html")


@get("/{path:path}", opt=PUBLIC, include_in_schema=False)
async def page(request: AnyRequest, path: FromPath[str]) -> Response[bytes]:
    """A file of the pages."""
    return _answer(request, path)


def _answer(request: AnyRequest, path: str) -> Response[bytes]:
    file = files().get(path.strip("/"))
    if file is None:
        raise Refused(404, "there is no such page")
    headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(b"", status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, media_type=file.type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.plain, media_type=file.type, headers=headers)

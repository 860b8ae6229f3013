"""Clips and pictures as HTTP responses: with ranges of a clip for players, and as downloads."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from litestar import Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream

from services.console.video.clips import Clip
from services.console.video.pictures import Picture
from services.console.web.errors import ErrorAnswer
from services.console.web.parameters import AnyRequest
from services.console.web.refused import Refused
from shared.contract.segment import rfc3339

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
# A frame at a time never changes; the newest does.
FOR_EVER, NEWEST = "private, max-age=86400", "private, max-age=1"
# The other responses of a route that sends clips.
PARTS = {
    206: ResponseSpec(bytes, description="The part that `Range` asks for.", media_type="video/mp4"),
    416: ResponseSpec(ErrorAnswer, description="`Range` begins behind the clip's end."),
}


def picture(found: Picture, *, cache: str, filename: str = "") -> Response[bytes]:
    """Return a picture's response. filename: of a download; empty: it is shown."""
    headers = {"X-Time": rfc3339(found.time), "Cache-Control": cache, **_disposition(filename)}
    return Response(found.jpeg, media_type="image/jpeg", headers=headers)


def clip(request: AnyRequest, found: Clip, *, filename: str = "") -> Response[Any]:
    """Return a clip's response. filename: of a download; empty: it is shown. Raises Refused for an invalid range."""
    first, last = _range(request.headers.get("range", ""), found.size)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(last - first + 1),
        "ETag": f'"{found.tag}"',
        "X-From": rfc3339(found.since),
        "X-To": rfc3339(found.until),
        "X-Whole": str(found.is_whole).lower(),
        **_disposition(filename),
    }
    # 206 even for the whole clip: Safari plays nothing if a server answers a range with 200.
    part = _RANGE.fullmatch(request.headers.get("range", "")) is not None
    if part:
        headers["Content-Range"] = f"bytes {first}-{last}/{found.size}"
    return Stream(_bytes(found, first, last), media_type="video/mp4", headers=headers, status_code=206 if part else 200)


def _disposition(filename: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{filename}"'} if filename else {}


async def _bytes(clip: Clip, first: int, last: int) -> AsyncIterator[bytes]:
    async for part in clip.read(first, last):
        yield bytes(part)


def _range(header: str, size: int) -> tuple[int, int]:
    """Return the first and the last byte of a single range, as players request it. Raises Refused."""
    found = _RANGE.fullmatch(header)
    if not found:
        return 0, size - 1
    first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    if first > last:
        raise Refused(416, f"the clip has {size} bytes", Content_Range=f"bytes */{size}")
    return first, last

"""`/recordings`: the recordings of cameras that the user may see, and their video, group by group."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from services.console.recordings import answers
from services.console.recordings.answers import RecordedCameras, RecordedHours, RecordedTime
from services.console.recordings.reanalysis_runs import ReanalysisRuns
from services.console.recordings.state import Recordings
from services.console.web import access
from services.console.web.asker import Asker
from services.console.web.needs import needs
from services.console.web.parameters import User
from services.console.web.refused import Refused
from services.console.web.times import instant
from shared.client import recordings
from shared.recordings.playing import playlist
from shared.recordings.queries import LONGEST, RangeAnswer, VideoRequest
from shared.runtime.errors import BadSegment
from shared.video import fmp4

Page = NamedDependency[Recordings]

# The video of a time never changes; a playlist grows while its time is not over.
_FOR_EVER, _NEWEST = "private, max-age=86400", "private, max-age=2"
_MOST = 2**48

From = Annotated[str, QueryParameter(name="from", max_length=64, description="such as 2026-11-29T13:05:00Z")]
To = Annotated[str, QueryParameter(name="to", max_length=64, description="a day later at most")]
Place = Annotated[int, QueryParameter(ge=0, le=_MOST, description="as the playlist says")]


@get("/recordings", opt=needs("viewer"))
async def list_recordings(asker: User, page: Page) -> RecordedCameras:
    """How much video there is of each camera that you may see, what is missing, and when the oldest expires."""
    found = await recordings.totals(page.console.links.viewer)
    return RecordedCameras(cameras=[answers.camera(total) for total in found if asker.sees(total.camera)])


@get("/recordings/{camera:str}", opt=needs("viewer"))
async def get_recordings(camera: FromPath[str], asker: User, page: Page) -> RecordedHours:
    """The recordings of a camera, by hour."""
    access.camera(asker, camera, page.console.cameras.values)
    (total,) = await recordings.totals(page.console.links.viewer, camera)
    return answers.hours(total)


@get("/recordings/{camera:str}/time", opt=needs("viewer"))
async def get_recorded_time(camera: FromPath[str], asker: User, page: Page, since: From, until: To) -> RecordedTime:
    """The parts of a time that have video, and why the others are missing."""
    return answers.time(await _found(page, asker, camera, since, until))


@get("/recordings/{camera:str}/playlist.m3u8", opt=needs("viewer"), media_type="application/vnd.apple.mpegurl")
async def get_playlist(camera: FromPath[str], asker: User, page: Page, since: From, until: To) -> Response[str]:
    """A time's video as HTTP Live Streaming (RFC 8216), recorded or still to be recorded."""
    found = await _found(page, asker, camera, since, until)
    if not found.plays:
        raise Refused(404, f"there is no video of camera {camera} in that time")
    text = playlist(
        found.plays,
        head=lambda play: _address(file=play.headed, begin=0, end=play.init),
        group=lambda play: _address(file=play.file, begin=play.begin, end=play.end, ticks=play.ticks, n=play.n),
    )
    return Response(text, media_type="application/vnd.apple.mpegurl", headers={"Cache-Control": _NEWEST})


@get("/recordings/{camera:str}/video.mp4", opt=needs("viewer"), media_type="video/mp4")
async def get_recorded_video(
    camera: FromPath[str],
    asker: User,
    page: Page,
    file: Annotated[str, QueryParameter(min_length=1, max_length=300, description="as the playlist says")],
    begin: Place,
    end: Place,
    ticks: Annotated[
        str, QueryParameter(pattern="^-?[0-9]{1,18}$|^$", description="as the playlist says; empty: as it is stored")
    ] = "",
    n: Annotated[int, QueryParameter(ge=1, le=2**32 - 1, description="as the playlist says")] = 1,
) -> Response[bytes]:
    """The bytes that a playlist names. `X-Codec` gives the codec of an initialization section, which browsers need."""
    access.camera(asker, camera, page.console.cameras.values)
    wanted = VideoRequest(
        camera=camera, file=file, begin=begin, end=end, ticks=int(ticks) if ticks else None, sequence=n
    )
    data = await recordings.video(page.console.links.viewer, wanted)
    return Response(data, media_type="video/mp4", headers={"Cache-Control": _FOR_EVER, **_codec_header(data, wanted)})


@get("/runs", opt=needs("viewer"))
async def list_runs(asker: User, page: Page) -> ReanalysisRuns:
    """Runs of `tidegate reanalyze` over recordings, latest first: those of which you may see every camera."""
    return page.runs.of(asker)


def _codec_header(data: bytes, wanted: VideoRequest) -> dict[str, str]:
    if wanted.begin or wanted.ticks is not None:
        return {}
    try:
        return {"X-Codec": fmp4.codec(data)}
    except BadSegment:
        return {}


async def _found(page: Recordings, asker: Asker, camera: str, since: str, until: str) -> RangeAnswer:
    access.camera(asker, camera, page.console.cameras.values)
    begin, end = instant(since, "from"), instant(until, "to")
    if not begin < end <= begin + LONGEST:
        raise Refused(400, "to is to be after from, and a day later at most")
    return await recordings.between(page.console.links.viewer, camera, begin, end)


def _address(**query: Any) -> str:
    """Return an address next to the playlist. Players need the path's extension."""
    return f"video.mp4?{urlencode(query)}"


ROUTES = [list_recordings, get_recordings, get_recorded_time, get_playlist, get_recorded_video, list_runs]

"""A camera's state to restore after a restart, and the limits of its analysis. Plain data."""

from __future__ import annotations

import msgspec

from services.analytics.counts import Minute
from services.analytics.incidents import IncidentsState, Ref
from services.analytics.objects import FollowedObject
from services.analytics.order import OrderProgress
from services.analytics.tracker import TrackerState

# Chosen by hand; the figures of docs/explanation/tracking.md were measured with these values.

# A frame of unknown size is assumed to be this wide for its height.
DEFAULT_ASPECT = 16 / 9
# An object is reported only after this many frames have shown it: a weak detector sees many things once.
MIN_FRAMES_SEEN = 2
# A path is published once it has this many points, so that it fits into a checkpoint and into an event.
MAX_PATH_POINTS = 200
# Only a frame's likeliest objects, this many, are matched: more would delay other cameras.
MAX_OBJECTS_IN_FRAME = 300
# Analysis of a segment stops after this many objects: a hundred people for twenty seconds.
MAX_OBJECTS_IN_SEGMENT = 10_000
# A box of a smaller area, as a share of the frame, is dropped: this is a thousandth of a pixel.
MIN_AREA = 1e-9
# Evidence of waiting or lasting incidents reaches back this far.
TRAIL_S = 600.0
# Evidence of waiting or lasting incidents covers at most this many segments.
MAX_TRAIL_SEGMENTS = 600
# A clock that is set back by more than this begins a new timeline. If it is set back by less, frames are skipped until
# it has caught up.
STEP_BACK_S = 1.0
# A frame is analysed from this share of its interval on: frames jitter in time, and may come a little early.
EARLY_SHARE = 0.9
# The ids of tracks begin with this many characters of an epoch.
EPOCH_CHARACTERS = 12


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's settings, in seconds except for fps.

    reorder_s: time to wait for a missing segment. fps: maximum frames a second to analyse; tracks are filled in between
    them. lost_s: how long an object may be unseen and still be the same. update_s: time between two events of a track.
    idle_s: after this long without video, everything ends. verify_s: time to wait for a verdict. settle_s: time to wait
    for revisions of deferred frames; 0: no second pass.
    """

    reorder_s: float = 15.0
    fps: float = 5.0
    lost_s: float = 2.0
    update_s: float = 2.0
    idle_s: float = 30.0
    verify_s: float = 600.0
    settle_s: float = 900.0


class CameraState(msgspec.Struct):
    """State to restore after a restart. Times are Unix seconds of video unless stated otherwise.

    seq: sequence in EVENTS up to which everything was read. waiting: sequences of those that wait in `Order`. place:
    progress of the order. id_prefix: of its tracks. count: number of tracks ever begun. followed: objects by the
    tracker's number. frames: times of the frames since any of these was last seen. last_frame_time: of the last
    analysed frame. last_active: when its last segment's turn came, by the log's clock; 0 once the camera was found
    idle. is_second_pass: whether this is a second pass. Then objects are named by the segment in which they came:
    objects with the same name in two runs are the same, wherever these began.
    """

    seq: int = 0
    waiting: list[int] = msgspec.field(default_factory=list, name="held")
    place: OrderProgress = msgspec.field(default_factory=OrderProgress)
    id_prefix: str = msgspec.field(default="", name="born")
    count: int = 0
    tracker: TrackerState = msgspec.field(default_factory=TrackerState)
    followed: dict[int, FollowedObject] = {}
    incidents: IncidentsState = msgspec.field(default_factory=IncidentsState)
    minute: Minute | None = None
    trail: list[Ref] = []
    frames: list[float] = []
    last_frame_time: float | None = msgspec.field(default=None, name="looked")
    last_active: float = msgspec.field(default=0.0, name="heard")
    width: int | None = None
    height: int | None = None
    model: str = ""
    is_second_pass: bool = msgspec.field(default=False, name="again")

    @property
    def aspect(self) -> float:
        return self.width / self.height if self.width and self.height else DEFAULT_ASPECT

"""A camera's state to restore after a restart. Plain data."""

from __future__ import annotations

import msgspec

from services.analytics.camera.order import OrderProgress
from services.analytics.incidents.state import IncidentsState, Ref
from services.analytics.tracking.counts import Minute
from services.analytics.tracking.objects import FollowedObject
from services.analytics.tracking.tracker import TrackerState

# Chosen by hand; the figures of docs/explanation/tracking.md were measured with these values.

# A frame of unknown size is assumed to be this wide for its height.
DEFAULT_ASPECT = 16 / 9
# A path is published once it has this many points, so that it fits into a checkpoint and into an event.
MAX_PATH_POINTS = 200
# Analysis of a segment stops after this many objects: a hundred people for twenty seconds.
MAX_OBJECTS_IN_SEGMENT = 10_000
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

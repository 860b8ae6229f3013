"""What is kept of a camera, and for how long: policies for all cameras, for groups, and for one. Pure.

    policy = nearest("lobby", {"default": …, "group.doors": …, "camera.lobby": …})

The nearest one that says something of a field says it. A hold counts wherever it is set: nothing of such a camera is
deleted, whatever else is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.contract import geometry
from shared.contract.names import Token
from shared.contract.rules import Point

Label = Annotated[str, Meta(min_length=1, max_length=100)]
Days = Annotated[float, Meta(gt=0, le=36_500)]
# A polygon, in shares of the upright picture's width and height.
Mask = Annotated[tuple[Point, ...], Meta(min_length=3, max_length=64)]
Record = Literal["always", "activity", "incidents", "never"]
Rest = Literal["nothing", "keyframes"]
# The keys of the bucket `recordings`.
DEFAULT = "default"


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Fields that are None say nothing. cameras: of a group, those that are in it.

    record: always; while something is seen; around incidents; or never. rest: what stays of what was recorded and does
    not count, but where nothing is to be recorded. labels, zones: of what is seen, where not just anything, anywhere,
    counts. before_s, after_s: of video, beside what counts. keep_days, incidents_days: for how long; the latter where
    an incident is. most_gb: of the camera, the oldest goes first; 0: no bound. hold: nothing is deleted. masks: of a
    camera alone, what is black before it is recorded.
    """

    cameras: Annotated[tuple[Token, ...], Meta(max_length=10_000)] = ()
    record: Record | None = None
    rest: Rest | None = None
    labels: Annotated[tuple[Label, ...], Meta(max_length=100)] | None = None
    zones: Annotated[tuple[Label, ...], Meta(max_length=100)] | None = None
    before_s: Annotated[float, Meta(ge=0, le=600)] | None = None
    after_s: Annotated[float, Meta(ge=0, le=600)] | None = None
    keep_days: Days | None = None
    incidents_days: Days | None = None
    most_gb: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    hold: bool | None = None
    masks: Annotated[tuple[Mask, ...], Meta(max_length=32)] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for masks that would leave something of what they are around."""
        for mask in self.masks or ():
            if flaw := geometry.flaw(mask):
                raise ValueError(f"a mask of {len(mask)} corners: {flaw}")


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What holds of a camera: a policy in which every field says something."""

    record: Record = "always"
    rest: Rest = "nothing"
    labels: tuple[Label, ...] = ()
    zones: tuple[Label, ...] = ()
    before_s: float = 10.0
    after_s: float = 10.0
    keep_days: float = 7.0
    incidents_days: float = 30.0
    most_gb: float = 0.0
    hold: bool = False
    masks: tuple[Mask, ...] = ()


def camera_key(camera: str) -> str:
    return f"camera.{camera}"


def group_key(group: str) -> str:
    return f"group.{group}"


def nearest(camera: str, policies: Mapping[str, Policy]) -> Kept:
    """policies: by their keys. Of two groups that say something, the first by name does."""
    groups = sorted(
        key for key, policy in policies.items() if key.startswith(group_key("")) and camera in policy.cameras
    )
    row = [policies[key] for key in (camera_key(camera), *groups, DEFAULT) if key in policies]
    said = {
        name: value
        for name in Kept.__struct_fields__
        if (value := next((v for policy in row if (v := getattr(policy, name)) is not None), None)) is not None
    }
    own = policies.get(camera_key(camera))
    return Kept(**said | {"hold": any(policy.hold for policy in row), "masks": (own and own.masks) or ()})

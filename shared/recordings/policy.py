"""Recording policies, and their retention: for all cameras, for groups, and for one. Pure.

    policy = nearest("lobby", {"default": ..., "group.doors": ..., "camera.lobby": ...})

The nearest policy that sets a field wins. A hold applies wherever it is set: no recording of such a camera is deleted,
whatever else is set.
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
    """A field that is None is unset. cameras: the members of a group.

    record: always; while something is seen; around incidents; or never. rest: what remains of recorded video that is
    not relevant, unless `record` is never. labels, zones: limit what is relevant; empty: anything, anywhere. before_s,
    after_s: margins of video around it. keep_days, incidents_days: retention; the latter for incidents. most_gb: of the
    camera, the oldest is removed first; 0: no bound. hold: nothing is deleted. masks: of a camera alone, polygons that
    are blackened before it is recorded.
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
        """Raises ValueError for masks that would leave some of their inside visible."""
        for mask in self.masks or ():
            if flaw := geometry.flaw(mask):
                raise ValueError(f"a mask of {len(mask)} corners: {flaw}")


class EffectivePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The effective policy of a camera: every field is set."""

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


def nearest(camera: str, policies: Mapping[str, Policy]) -> EffectivePolicy:
    """Merge the policies of a camera. policies: by key. Of two groups that set a field, the first by name wins."""
    groups = sorted(
        key for key, policy in policies.items() if key.startswith(group_key("")) and camera in policy.cameras
    )
    row = [policies[key] for key in (camera_key(camera), *groups, DEFAULT) if key in policies]
    fields = {
        name: value
        for name in EffectivePolicy.__struct_fields__
        if (value := next((v for policy in row if (v := getattr(policy, name)) is not None), None)) is not None
    }
    own = policies.get(camera_key(camera))
    return EffectivePolicy(**fields | {"hold": any(policy.hold for policy in row), "masks": (own and own.masks) or ()})

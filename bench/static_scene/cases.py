"""The scenes to run: their disturbances, their visitors, and their encoding."""

from __future__ import annotations

import msgspec

from bench.static_scene.scene import Disturbances
from bench.static_scene.visits import Wishes


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A scene. rate: a key of `encoding.RATES`."""

    name: str
    rate: str
    what: Disturbances
    wishes: Wishes
    minutes: float = 15.0
    seed: int = 1


_CASES = (
    Case(name="day", rate="quality", what=Disturbances(), wishes=Wishes()),
    Case(name="tree", rate="vbr", what=Disturbances(tree=6, light=0.15), wishes=Wishes(together=2)),
    Case(name="cars", rate="h265", what=Disturbances(noise=3), wishes=Wishes(cars=0.7)),
    Case(name="stays", rate="cbr", what=Disturbances(tree=3), wishes=Wishes(stops=0.6, together=2)),
    Case(name="crowd", rate="vbr", what=Disturbances(), wishes=Wishes(together=4, stops=0.3, cars=0.2)),
    Case(name="smart", rate="smart", what=Disturbances(tree=2), wishes=Wishes(stops=0.3, together=2)),
    Case(name="clouds", rate="quality", what=Disturbances(light=0.2, shadows=0.35), wishes=Wishes(together=2)),
    Case(name="shaking", rate="vbr", what=Disturbances(shake=3), wishes=Wishes(together=2)),
    Case(name="night", rate="cbr", what=Disturbances(noise=12, dark=0.4), wishes=Wishes(together=2)),
    Case(
        name="headlights",
        rate="vbr",
        what=Disturbances(noise=8, dark=0.5, lights=120),
        wishes=Wishes(cars=0.4, together=2),
    ),
    Case(
        name="storm",
        rate="cbr",
        what=Disturbances(noise=4, light=0.2, shadows=0.3, tree=10, shake=4),
        wishes=Wishes(together=2, stops=0.3),
    ),
)
NAMES = tuple(case.name for case in _CASES)


def cases(names: tuple[str, ...], minutes: float, activity: float, seed: int) -> list[Case]:
    """Return the cases of these names. minutes: of each. activity: share of the time with a visitor."""
    change = msgspec.structs.replace
    return [
        change(case, minutes=minutes, seed=seed + n + 1, wishes=change(case.wishes, activity=activity))
        for n, case in enumerate(_CASES)
        if case.name in names
    ]

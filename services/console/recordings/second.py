"""Second looks: runs of `tidegate reanalyze`, as their entries in the bucket `runs` say, for whoever may see them."""

from __future__ import annotations

import time

import msgspec

from services.console.people.asker import Asker
from shared.bus.client import Connection
from shared.bus.mirror import Mirror
from shared.contract import runs
from shared.contract.runs import Reanalysis
from shared.runtime.errors import SettingError

# The latest are told of.
MOST = 100


class SecondLook(msgspec.Struct, frozen=True, kw_only=True):
    """of: what a run says. heard: false where it goes on by that, and has said nothing for a minute: it was killed."""

    of: Reanalysis
    heard: bool


class UnusableRun(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that is none. mistake: what is wrong with it."""

    run: str
    mistake: str


class SecondLooks(msgspec.Struct, frozen=True, kw_only=True):
    """runs: a hundred at most, the latest first. unusable: for those who see every camera."""

    runs: list[SecondLook]
    unusable: list[UnusableRun]


class Second:
    """See the module. client: whose connection the bucket is read by."""

    def __init__(self, client: Connection, bucket: Mirror) -> None:
        self._client = client
        self._bucket = bucket

    def of(self, asker: Asker) -> SecondLooks:
        """What they may see: nobody hears of a run that is of a camera that they may not see, too."""
        found: list[tuple[str, Reanalysis]] = []
        unusable: list[UnusableRun] = []
        for key, value in self._bucket.values.items():
            try:
                found.append((key, runs.decode(key, value)))
            except SettingError as e:
                unusable.append(UnusableRun(run=key[:64], mistake=str(e)))
        seen = sorted((one for one in found if all(map(asker.sees, one[1].cameras))), key=_began, reverse=True)
        return SecondLooks(
            runs=[SecondLook(of=run, heard=self._is_heard(key, run)) for key, run in seen[:MOST]],
            unusable=unusable[:MOST] if asker.cameras is None else [],
        )

    def _is_heard(self, key: str, run: Reanalysis) -> bool:
        # Whoever is away hears of nobody.
        if not self._client.is_connected:
            return True
        here, stored = self._bucket.seen[key], self._bucket.written[key]
        return runs.is_heard(run, time.monotonic() - here, time.time() - stored)


def _began(one: tuple[str, Reanalysis]) -> float:
    return one[1].began.timestamp()

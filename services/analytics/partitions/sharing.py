"""The partitions of this process: its share of them, each under a lease and from its checkpoint on.

Example:
    partitions = OwnedPartitions(client, settings, rulebook, is_listed, leases, checkpoints)
    taken = await partitions.share()        # release the excess, claim free ones; about twice a second
    partitions.of("lobby")                  # the partition of a camera, or None where another process has it
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable, Iterator

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.analytics import metrics
from services.analytics.limits import ObjectRate
from services.analytics.partitions.checkpoint import Checkpoints, OwnershipLost
from services.analytics.partitions.extension import Extend, Extension
from services.analytics.partitions.partition import Partition, camera_of
from services.analytics.rules.rulebook import Rulebook
from services.analytics.settings import AnalyticsSettings
from shared.bus import direct
from shared.bus.leasing import partitions
from shared.bus.leasing.leases import Leases
from shared.bus.log import Log
from shared.contract import names
from shared.contract.events import Alert, Counts, Incident, Tracks
from shared.runtime.errors import BusError, Full
from shared.runtime.telemetry import logger

DETECTIONS = names.event("detections", "*")
PUBLISHED = tuple(names.event(kind.kind, "*") for kind in (Tracks, Incident, Alert, Counts))


class OwnedPartitions:
    """See the module. is_listed: whether a camera id exists. extend: the extension of each partition that is taken.

    Iterating gives the partitions.
    """

    def __init__(
        self,
        client: Client,
        settings: AnalyticsSettings,
        rulebook: Rulebook,
        is_listed: Callable[[str], bool],
        leases: Leases,
        checkpoints: Checkpoints,
    ) -> None:
        self.extend: Extend = Extension
        self._client = client
        self._settings = settings
        self._rulebook = rulebook
        self._is_listed = is_listed
        self._leases = leases
        self._checkpoints = checkpoints
        self._rate = ObjectRate()
        self._owned: dict[int, Partition] = {}
        self._unstored: dict[int, str] = {}
        self._log = logger("analytics")

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._owned.values())

    def __len__(self) -> int:
        return len(self._owned)

    def number(self, camera: str) -> int:
        """Return the number of the partition that a camera belongs to, whichever process has it."""
        return partitions.partition_of(camera, self._settings.analytics_partitions)

    def of(self, camera: str) -> Partition | None:
        """Return the partition of a camera; None if this process does not have it."""
        return self._owned.get(self.number(camera))

    def may_publish(self, number: int) -> bool:
        """Whether the lease of a partition still holds."""
        return self._leases.holds(str(number))

    def may_rest(self) -> bool:
        """Whether nothing follows from the time that passes: all partitions are ours, and have no camera."""
        return len(self) == self._settings.analytics_partitions and not any(p.cameras for p in self)

    async def share(self) -> list[Partition]:
        """Release partitions over this process's share and claim free ones up to it; return those that were taken.

        Raises BusError, nats.errors.Error or TimeoutError if the server does not answer.
        """
        leases, count = self._leases, self._settings.analytics_partitions
        self.drop(map(int, leases.take_lost()))
        await self.release(sorted(self._owned)[partitions.share(leases, count) :])
        await partitions.claim_free(leases, count)
        taken = [await self._take(n) for n in sorted(map(int, leases.owned)) if n not in self._owned]
        await self._recall({p.number: p for p in taken if p.last_published >= 0})
        return taken

    def drop(self, numbers: Iterable[int] | None = None, how: str = "lost") -> None:
        """Drop these partitions, or all: those still leased are read again from their checkpoints.

        how: `lost` or `released`.
        """
        for n in list(self._owned if numbers is None else numbers):
            if self._owned.pop(n, None):
                metrics.MOVES.labels(how).inc()
            self._unstored.pop(n, None)
            self._checkpoints.drop(n)

    async def checkpoint(self, numbers: Iterable[int] | None = None) -> None:
        """Store the state of these partitions, or of all; go on without checkpoints where the bucket has no room.

        Raises BusError if the server does not answer.
        """
        for n in list(self._owned if numbers is None else numbers):
            if not self._leases.holds(str(n)):
                continue
            try:
                await self._checkpoints.save(self._owned[n])
                self._unstored.pop(n, None)
            except OwnershipLost:
                self._log.warning("another process has the partition", partition=n)
                self.drop([n])
            except Full as e:
                self._log.error("goes on without a checkpoint", partition=n, error=str(e))
                metrics.UNSTORED.inc()
                self._unstored[n] = str(e)

    def trouble(self) -> str | None:
        """Return what keeps checkpoints from being stored, or None."""
        if not self._unstored:
            return None
        return (
            f"{len(self._unstored)} of {len(self)} partitions have no room for a checkpoint in bucket "
            f"{names.ANALYTICS}: a restart begins at the last one; {next(iter(self._unstored.values()))}"
        )

    async def _take(self, number: int) -> Partition:
        settings = self._settings
        budget, limits = settings.budget(), settings.limits()
        partition = Partition(number, limits, self._rulebook.of, self._is_listed, budget, self._rate, self.extend)
        if not await self._checkpoints.load(partition):
            partition.position = partition.verdicts = await self._beginning()
        self._owned[number] = partition
        metrics.MOVES.labels("taken").inc()
        return partition

    async def _recall(self, taken: dict[int, Partition]) -> None:
        """Load the ids published after the partitions' checkpoints, so that they are not published again."""
        if not taken:
            return
        async with Log(self._client, names.EVENTS) as log:
            for subject in PUBLISHED:
                seq = min(p.last_published for p in taken.values()) + 1
                while part := await log.read(subject, seq):
                    seq = part[-1].seq + 1
                    for stored in part:
                        camera, id = camera_of(stored.subject), stored.headers.get("ce-id", "")
                        partition = taken.get(self.number(camera))
                        # What came after the checkpoint is computed again.
                        if partition and stored.seq > partition.last_published:
                            partition.published_by(id).note(camera, id, stored.seq)

    async def _beginning(self) -> int:
        """Return the sequence to read from if there is no checkpoint."""
        since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self._settings.analytics_since_s)
        try:
            return (await direct.get(self._client, names.EVENTS, subject=DETECTIONS, since=since)).seq
        except NotFoundError:
            return 1

    async def release(self, numbers: Iterable[int] | None = None) -> None:
        """Store the checkpoints of these partitions, or of all, and release them to other processes immediately."""
        numbers = list(self._owned if numbers is None else numbers)
        if not numbers:
            return
        try:
            await self.checkpoint(numbers)
        except BusError as e:
            self._log.warning("released without a checkpoint", error=str(e))
        released = [n for n in numbers if n in self._owned]
        self.drop(released, "released")
        await asyncio.gather(*(self._leases.release(str(n)) for n in released))

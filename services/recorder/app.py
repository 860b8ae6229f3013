"""A recorder process: wires the parts, runs them, and stops them in order."""

from __future__ import annotations

import asyncio

from services.recorder import metrics
from services.recorder.admission import Admission
from services.recorder.answering import Answers
from services.recorder.erasing import Eraser
from services.recorder.keeping import Keeper
from services.recorder.ledgers import Ledgers
from services.recorder.recorder import Recorder
from services.recorder.settings import RecorderSettings
from services.recorder.sharing import Sharing
from services.recorder.tails import Tails
from services.recorder.writing import Writer
from shared import bus
from shared.bus.client import Connection
from shared.bus.leasing import leases as leasing
from shared.bus.leasing.leases import Kind, Leases
from shared.bus.log import check_version
from shared.bus.mirror import Mirror, all_read, bind, mirror
from shared.contract import names
from shared.recordings.library import Library
from shared.recordings.opening import open_recordings
from shared.recordings.policies import Policies
from shared.runtime.tasks import end, supervise, unless
from shared.runtime.telemetry import Health
from shared.service import process

# Grace for files that are being written. A successor writes what is unfinished by then.
GRACE_S = 20.0


async def run(settings: RecorderSettings, client: Connection, health: Health, stop: asyncio.Event) -> None:
    """Record until `stop` is set. Raises TidegateError."""
    check_version(client, names.MEDIA)
    place, free = settings.recorder_store, settings.recorder_free
    library = Library(open_recordings(place, "RECORDER_STORE", settings.recorder_key_file, free=free))
    changed = asyncio.Event()

    async def opening() -> tuple[Mirror, Mirror, Mirror, Leases, Ledgers, list[str]]:
        kind = Kind("partition", "recorder", metrics.OWNED)
        leased, leases = await leasing.open_leases(client, names.RECORDERS, kind, settings.lease_s, changed)
        policy_mirror = await mirror(client, names.RECORDINGS, changed)
        entries = await mirror(client, names.CAMERAS, changed)
        ledgers = Ledgers(client.jetstream(), await bind(client.jetstream(), names.RECORDER))
        return entries, policy_mirror, leased, leases, ledgers, await ledgers.cameras()

    buckets = await unless(stop, bus.answered(client, health, opening))
    if buckets is None:
        return
    entries, policy_mirror, leased, leases, ledgers, recorded = buckets
    sharing, tails, policies = Sharing(leases), Tails(client), Policies(policy_mirror.values)
    writer = Writer(client, library, ledgers, tails, idle_s=settings.recorder_idle_s, masks=policies.masks)
    keeper = Keeper(client, library, ledgers, sharing, policies.of)
    answers = Answers(client, library, ledgers, tails, policies.of, policies.masks)
    admission = Admission(entries.values, policy_mirror.values, settings.recorder_unlisted_cameras)
    eraser = Eraser(client, library, ledgers, sharing, tails, answers, policies.of)
    recorder = Recorder(client, tails, sharing, ledgers, writer, health, policies.of, admission)

    async def work() -> None:
        health.ready = "reading the buckets of cameras, policies and leases"
        await supervise(all_read(entries, policy_mirror, leased), process.beat(client, health))
        admission.restore(recorded)
        answering = await answers.start()
        await eraser.start()
        try:
            await supervise(recorder.run(stop, settings.recorder_writers, settings.recorder_maskers), keeper.run())
        finally:
            await eraser.stop()
            await answering.stop()

    following = [asyncio.create_task(part.run()) for part in (entries, policy_mirror, leased, leases, tails)]
    working = asyncio.create_task(work())
    try:
        await supervise(working, *following, stop=stop)
    finally:
        health.ready = "stopping"
        await asyncio.wait({working}, timeout=GRACE_S)
        await end(working)
        await end(*following)
        await leases.leave()
        await library.store.close()

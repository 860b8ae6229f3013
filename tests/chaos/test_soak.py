"""A short form of `make soak`: every service is there, works, and is monitored."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client

from bench import soak
from shared.contract import catalog, names
from tests.support.waiting import patience_s


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.xdist_group("waiting")
async def test_every_service_works_and_is_monitored() -> None:
    async with soak.site() as (folder, admin, alerts, _), asyncio.timeout(patience_s()):
        # The alert is verified and posted: every service between a camera and a person took part.
        while not (alerts and await _published(admin, "verdicts") and await _published(admin, "captions")):
            await asyncio.sleep(0.5)
        while not _whole(sample := await soak.take_sample(folder, admin, 0.0, len(alerts))):
            await asyncio.sleep(0.5)
    assert sample.store_mb and sample.events and sample.alerts


def _whole(sample: soak.Sample) -> bool:
    """Return whether all services run and serve their metrics, if they have any; a starting one does not yet."""
    names_of = {name.rsplit("-", 1)[0] if name[-1].isdigit() else name for name in sample.processes}
    shown = all(p.series for name, p in sample.processes.items() if name not in ("watch", "nats-server"))
    seen = all(p.memory_mb > 1 and p.descriptors and p.threads for p in sample.processes.values())
    return shown and seen and names_of == {s.name for s in catalog.services()} | {"watch", "up", "nats-server"}


async def _published(admin: Client, kind: str) -> bool:
    info = await admin.jetstream().stream_info(names.EVENTS, subjects_filter=names.event(kind, ">"))
    return bool(info.state.subjects)

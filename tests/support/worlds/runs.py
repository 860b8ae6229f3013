"""Runs of `tidegate reanalyze` in the bucket."""

from __future__ import annotations

import datetime as dt
from typing import Any

from nats.aio.client import Client

from shared.contract import names
from shared.contract.reading.entries import entries
from shared.contract.work import runs
from shared.contract.work.runs import Reanalysis

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)


def reanalysis(run: str, *cameras: str, **fields: Any) -> Reanalysis:
    """A run that has analysed a quarter of its video."""
    usual = {
        "since": NOW - dt.timedelta(days=1),
        "until": NOW,
        "model": "openvino:ssd_mobilenet_v2_coco",
        "fps": 5.0,
        "host": "shelf",
        "output": f"/video/again/{run}",
        "began": NOW,
        "updated": NOW,
        "state": "looking",
        "pieces": 8,
        "pieces_done": 2,
        "frames": 4000,
        "frames_done": 1000,
        "frames_per_s": 120.0,
        "ends": NOW + dt.timedelta(seconds=25),
    }
    return Reanalysis(run=run, cameras=cameras, **usual | fields)


async def put(admin: Client, run: Reanalysis) -> None:
    await put_raw(admin, run.run, runs.encode(run))


async def put_raw(admin: Client, key: str, value: bytes) -> None:
    await (await admin.jetstream().key_value(names.RUNS)).put(key, value)


async def stored(admin: Client) -> dict[str, Reanalysis]:
    """All runs, by their ids."""
    return {key: runs.decode(key, value) for key, value in (await entries(admin.jetstream(), names.RUNS)).items()}

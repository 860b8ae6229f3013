"""The index has the revision of a reanalysed segment, in whatever order the two events come."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import lancedb
import numpy as np
import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from shared.contract import events, names, topology
from shared.contract.events import DetectedObject, Detections, Embeddings, Frame, Quality, SegmentRef, Vector
from shared.contract.work import backfill
from shared.contract.work.backfill import Backfill
from shared.models import vectors
from tests.support.worlds.search_world import BEGAN, DIMENSION, TIMING, at, find, scene, searching, settled
from tidegate.local.server import NatsServer

LOW = Quality(fps=1.0, wanted=5.0, cause="backlog")
Step = Literal["first", "revision", "lost"]
# Each may be repeated, and each may come before the other.
STEPS: tuple[Step, ...] = ("first", "first", "revision", "revision", "lost")
ORDERS = sorted(set(itertools.permutations(STEPS)))


def labelled(second: int, *labels: str) -> Detections:
    objects = [DetectedObject(label=label, score=0.9, box=(0.1, 0.1, 0.5, 0.5)) for label in labels]
    return Detections(
        camera="lobby",
        segment=SegmentRef(stream="MEDIA", seq=1000 + second, epoch="e", n=second),
        start=at(second),
        duration=1.0,
        model="ssd",
        frames=[Frame(time=at(second), objects=objects)],
        timing=TIMING,
        quality=LOW,
    )


def embedded(second: int, *of: np.ndarray) -> Embeddings:
    return Embeddings(
        camera="lobby",
        segment=SegmentRef(stream="MEDIA", seq=1000 + second, epoch="e", n=second),
        start=at(second),
        duration=1.0,
        model="m",
        dimension=DIMENSION,
        vectors=[Vector(time=at(second), vector=vectors.pack(vector)) for vector in of],
        timing=TIMING,
        quality=LOW,
    )


async def say(admin: Client, event: events.Event, id: str, n: int) -> None:
    """n: the same event is stored again, as beyond the stream's window of duplicates."""
    headers = events.headers(event, id=id, source="/test") | {"Nats-Msg-Id": f"{id}/{n}"}
    await admin.jetstream().publish(events.subject(event), events.encode(event), headers=headers)


async def tell(
    admin: Client, first: Detections | Embeddings, full: Detections | Embeddings, steps: Iterable[Step]
) -> None:
    id = f"{first.kind}/{first.segment.seq}"
    job = backfill.job_of(first, id, stream="MEDIA", seq=first.segment.seq)
    for n, step in enumerate(steps):
        if step == "first":
            await say(admin, first, id, n)
        elif step == "revision":
            await say(admin, backfill.revision(replace(full, quality=None), id), backfill.revision_id(id), n)
        else:
            await say(admin, backfill.lost(job, "expired"), backfill.revision_id(id), n)


def indexed(folder: Path, kind: str) -> list[tuple[int, str]]:
    """(sequence, id) of every row of a kind."""
    db = lancedb.connect(folder)
    tables = [db.open_table(name) for name in db.list_tables(limit=1000).tables if name.startswith(kind)]
    return sorted((row["seq"], row["id"]) for table in tables for row in table.to_arrow().to_pylist())


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 7, 1000])
async def test_order_and_repetition_of_revisions_change_nothing(
    server: NatsServer, admin: Client, tmp_path: Path, batch: int
) -> None:
    """There is a restart in between: the index has its state on disk."""
    for half in (0, 1):
        for n, order in enumerate(ORDERS):
            steps = (order[:2], order[2:])[half]
            await tell(admin, labelled(n, "car"), labelled(n, "bus", "dog"), steps)
            await tell(admin, embedded(n, scene(0, n)), embedded(n, scene(1, n), scene(2, n)), steps)
        async with searching(server, tmp_path, search_batch_size=batch):
            await settled(admin)
            if half:
                assert (await find(admin, labels=["car"])).moments == []
                assert sum(m.hits for m in (await find(admin, labels=["bus"], k=100)).moments) == len(ORDERS)
    wanted = range(len(ORDERS))
    assert indexed(tmp_path, "labels") == sorted(
        (1000 + n, f"detections/{1000 + n}/full#{label}") for n in wanted for label in ("bus", "dog")
    )
    assert indexed(tmp_path, "vectors") == sorted(
        (1000 + n, f"embeddings/{1000 + n}/full#{i}") for n in wanted for i in (0, 1)
    )


async def test_an_empty_revision_leaves_no_rows(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """This holds also if the revision comes first: the original event's rows must not stay."""
    await tell(admin, labelled(0, "car"), labelled(0), ["first", "revision"])
    await tell(admin, labelled(1, "car"), labelled(1), ["revision", "first"])
    await tell(admin, labelled(2, "car"), labelled(2), ["first", "lost"])
    async with searching(server, tmp_path):
        await settled(admin)
        (moment,) = (await find(admin, labels=["car"])).moments
    assert moment.start == at(2), "the first event stands where there is no revision"


async def test_a_neighbour_of_a_similar_id_is_left_alone(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    for seq, second in ((1000, 0), (10001, 1)):
        event = labelled(second, "car")
        segment = replace(event.segment, seq=seq)
        await say(admin, replace(event, segment=segment), f"detections/{seq}", 0)
    await tell(admin, labelled(0, "car"), labelled(0, "bus"), ["revision"])
    async with searching(server, tmp_path):
        await settled(admin)
    assert [id for _, id in indexed(tmp_path, "labels")] == ["detections/1000/full#bus", "detections/10001#car"]


@pytest.mark.parametrize("order", [("victim", "forged"), ("forged", "victim")])
async def test_a_revision_replaces_rows_of_its_own_kind_alone(
    server: NatsServer, admin: Client, tmp_path: Path, order: tuple[str, str]
) -> None:
    """Each kind has its own service, which may erase no other's rows."""
    for n, event, other in ((0, embedded(0, scene(0, 0)), labelled(0)), (1, labelled(1, "car"), embedded(1))):
        id = f"victim/{n}"
        for step in order:
            if step == "victim":
                await say(admin, event, id, 0)
            else:
                await say(admin, backfill.revision(replace(other, quality=None), id), f"forged/{n}", 0)
    async with searching(server, tmp_path):
        await settled(admin)
    assert [id for _, id in indexed(tmp_path, "vectors")] == ["victim/0#0"]
    assert [id for _, id in indexed(tmp_path, "labels")] == ["victim/1#car"]


async def test_setup_adds_revisions_to_an_older_consumer_and_the_index_stays(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    js = admin.jetstream()
    before = (await js.consumer_info("EVENTS", "search")).config
    before.filter_subjects = ["events.embeddings.>", "events.detections.>"]
    await js.delete_consumer("EVENTS", "search")
    built = await js.add_consumer("EVENTS", before)
    await tell(admin, labelled(0, "car"), labelled(0, "bus"), ["first"])
    async with searching(server, tmp_path):
        await settled(admin)
        assert await topology.apply(js, topology.TopologySettings()) == ["consumer search updated"]
        info = await js.consumer_info("EVENTS", "search")
        assert info.created == built.created and len(info.config.filter_subjects or []) == 6
        await tell(admin, labelled(0, "car"), labelled(0, "bus"), ["revision"])
        await settled(admin)
        assert [m.labels for m in (await find(admin, labels=["car", "bus"])).moments] == [["bus"]]


def test_an_event_that_names_its_reviser_is_complete() -> None:
    """`Backfill` has the fields of a revision for an expired segment."""
    job: Backfill = backfill.job_of(embedded(3), "an/id", stream="MEDIA", seq=9)
    lost = backfill.lost(job, "no_room")
    assert (lost.start, lost.segment.seq, events.subject(lost)) == (
        at(3),
        1003,
        names.event("revisions.embeddings", "lobby"),
    )
    assert lost.start >= BEGAN

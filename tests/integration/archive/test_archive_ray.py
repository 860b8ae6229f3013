"""`tidegate reanalyze --ray`: the same rows, by a cluster of Ray that loses a machine on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shared.runtime.errors import TidegateError
from tests.support.processes.command_line import tidegate
from tests.support.worlds.archive_world import EMBED, command, planned, same_vectors, seen, store, table, whole
from tidegate.archive.frames import decoding
from tidegate.archive.job import with_embed_size
from tidegate.archive.results.report import write_report
from tidegate.archive.run import Run
from tidegate.archive.sync_store import SyncStore

__all__ = ["store", "whole"]

# Tests import Ray themselves: it takes a second of CPU, and the quick tests need none.
# Ray's own servers take a busy machine for a dead one.
pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.xdist_group("computing")]

# Of each machine: its memory for objects that pass between processes.
MACHINE = {"num_cpus": 1, "object_store_memory": 300 * 2**20}


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two machines of one core."""
    # No other process needs it in memory.
    from ray.cluster_utils import Cluster

    instance = Cluster(initialize_head=True, head_node_args=MACHINE)
    try:
        instance.add_node(**MACHINE)
        yield instance
    finally:
        instance.shutdown()


def test_a_dead_machine_loses_nothing(store: Path, whole: Path, tmp_path: Path, cluster: Any) -> None:
    """Regression: its workers had no room elsewhere, and the run waited for them."""
    from tidegate.archive.engines import ray_engine

    job, pieces = planned(store, tmp_path / "out", embed=EMBED)
    with SyncStore(job.output, "--output") as results, ray_engine.cluster(cluster.address) as engine:
        assert (*engine.capacity, engine.workers) == (2, 0, 2)
        probed = engine.probe(job, pieces)
        assert probed.name == "ssd_mobilenet_v2_coco" and probed.size == (300, 300) and probed.frames_per_s > 0
        run = Run.create(with_embed_size(job, probed.view), pieces, results)
        states = run.analyze(engine, probed.size)
        next(states)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        assert [state.done for state in states][-1] == run.frames
        assert {one.camera for one in run.track(engine)} == {"alley", "crossing"}
        with SyncStore(job.store, "--store") as recordings:
            write_report(run, recordings, results)
    assert seen(tmp_path / "out") == seen(whole) and same_vectors(tmp_path / "out", whole)
    assert table(tmp_path / "out", "tracks") == table(whole, "tracks")
    assert (tmp_path / "out" / "report.html").exists()


def test_an_error_on_another_machine_is_reported_here(store: Path, tmp_path: Path, cluster: Any) -> None:
    from tidegate.archive.engines import ray_engine

    job, pieces = planned(store, tmp_path / "out", model="openvino:none")
    with ray_engine.cluster(cluster.address) as engine, pytest.raises(TidegateError, match="openvino:none") as raised:
        engine.probe(job, pieces)
    assert "Traceback" not in str(raised.value)


def test_pictures_of_any_size_pass_between_processes(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detector of any size gets tiles that are smaller than the picture; an embedder has its own size."""
    from tidegate.archive.engines import ray_driver

    job, pieces = planned(store, tmp_path / "out", tiles="2x1", cameras=("alley",), embed=EMBED)
    job = with_embed_size(job, (224, 224))
    config = msgspec.json.encode(ray_driver._WorkerConfig(job=job, size=None, threads=1))
    seen: list[Any] = []

    class Analyzer:
        def analyze(self, decoded: Any) -> Any:
            seen.append(decoded)
            raise KeyboardInterrupt

    monkeypatch.setattr(ray_driver, "_analyzer", lambda config: Analyzer())
    row = {"config": [config], "piece": [msgspec.json.encode(pieces[0])]}
    between = ray_driver._Decode()(row)
    with pytest.raises(KeyboardInterrupt):
        ray_driver._Detect()(between)
    with SyncStore(job.store, "--store") as recordings:
        expected = decoding.read_piece(recordings, pieces[0], job, None)
    assert len({image.shape for image in expected.images}) == 2
    assert {image.shape for image in expected.embed_images} == {(224, 224, 3)}
    for ours, theirs in ((seen[0].images, expected.images), (seen[0].embed_images, expected.embed_images)):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert (seen[0].segments, seen[0].embed_inputs, seen[0].piece) == (
        expected.segments,
        expected.embed_inputs,
        pieces[0],
    )


def test_the_stages_of_a_gpu_write_the_same_rows(store: Path, whole: Path, tmp_path: Path) -> None:
    """Without a GPU one process does the work of the three stages."""
    from tidegate.archive.engines import ray_driver

    job, pieces = planned(store, tmp_path / "out", cameras=("alley",))
    config = msgspec.json.encode(ray_driver._WorkerConfig(job=job, size=(300, 300), threads=1))
    with SyncStore(job.output, "--output") as results:
        Run.create(job, pieces, results)
    for piece in pieces:
        row = {"config": [config], "piece": [msgspec.json.encode(piece)]}
        for stage in (ray_driver._Decode(), ray_driver._Detect(), ray_driver._Write()):
            row = stage(row)
        assert list(row) == ["totals"]
    expected = {id: frames for id, frames in seen(whole).items() if id.startswith("alley/")}
    assert seen(tmp_path / "out") == expected


def test_a_cluster_without_gpus_is_reported(store: Path, tmp_path: Path) -> None:
    options = ("--output", str(tmp_path / "out"), "--ray", "here", "--device", "cuda")
    refused = tidegate(tmp_path, *command(store, *options), check=False)
    assert refused.returncode == 1 and "has no GPU now" in refused.stderr and "--device cpu" in refused.stderr


def test_ray_is_started_locally_on_request(store: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    printed = tidegate(tmp_path, *command(store, "--output", str(output), "--ray", "here", "--camera", "alley"))
    assert "report: " in printed.stdout and "Traceback" not in printed.stderr and "WARNING" not in printed.stderr, (
        printed.stderr
    )
    expected = {id: frames for id, frames in seen(whole).items() if id.startswith("alley/")}
    assert seen(output) == expected
    refused = tidegate(tmp_path, *command(store, "--ray", "127.0.0.1:9"), check=False)
    assert refused.returncode == 1 and "there is no Ray at 127.0.0.1:9" in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr

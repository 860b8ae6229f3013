"""The measurements and their consequences: as data for a file, and as tables for a terminal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.gpu import overlay, plan
from bench.gpu.backlog import Run
from bench.gpu.machine import Machine
from bench.gpu.plan import Numbers
from bench.gpu.stages import Decoding, Hardware, Model
from tidegate.keda.threshold import explain
from tidegate.models import capacity

# fitted: untrained, but biased to find as many objects as a trained detector.
Weights = Literal["trained", "untrained", "fitted"]


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A service: its stages, a replica's run, and the consequences. models: the first is the replica's."""

    name: str
    weights: Weights
    decoding: list[Decoding]
    models: list[Model]
    run: Run
    bound: plan.Bound
    cameras: int
    cameras_planned: int
    numbers: Numbers


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All results. segment_s: seconds of video in a segment. tests: result of tests marked `gpu`, None if not run."""

    time: dt.datetime
    commit: str
    machine: Machine
    segment_s: float
    megabits_s: float
    tests: str | None
    nvdec: Hardware
    services: list[Served]

    @property
    def about(self) -> str:
        """The source of the numbers, on one line."""
        m = self.machine
        models = ", ".join(s.models[0].name for s in self.services)
        driver = f", driver {m.gpu.driver}" if m.gpu and m.gpu.driver else ""
        where = f"{m.label}{driver}, torch {m.torch}, {m.host.cores} cores"
        return f"Measured by `make gpu` on {self.time:%Y-%m-%d}: {where}; {models}."


def show(report: Report, out: Console) -> None:
    for part in _parts(report):
        out.print(part)
        out.print()


def _parts(report: Report) -> Iterator[RenderableType]:
    m = report.machine
    if m.device == "cpu":
        yield Text("These are figures of a CPU. They say nothing about a GPU.", style="bold")
    yield _about_machine(report)
    for served in report.services:
        yield Text(f"{served.name}: {served.models[0].name}", style="bold")
        yield _weights(served)
        yield _decoding(served.decoding)
        yield _models(served.models)
        yield _replica(served, m)
    yield _nvdec(report.nvdec)
    yield _carries(report.services, report.segment_s)
    for served in report.services:
        yield Text(f"{overlay.command(served.numbers)}\n{explain(served.numbers.threshold)}")


def _about_machine(report: Report) -> RenderableType:
    m = report.machine
    lines = [report.about]
    if m.gpu:
        lanes = f"PCIe {m.gpu.pcie_generation} x{m.gpu.pcie_lanes}" if m.gpu.pcie_lanes else "PCIe unknown"
        memory = f"{m.gpu.memory_mb:.0f} MB" if m.gpu.memory_mb else "memory unknown"
        lines.append(f"{memory}, {lanes}, MIG {m.gpu.mig or 'unknown'}, CUDA {m.cuda}, cuDNN {m.cudnn}")
    lines.append(
        f"CPU {m.host.cpu}, load {m.host.load} before; "
        f"segments of {report.segment_s:g} s, 1080p25, {report.megabits_s:.1f} Mbit/s"
    )
    lines.append(f"Tests marked gpu: {report.tests or 'not run'}.")
    return Text("\n".join(lines))


def _weights(served: Served) -> RenderableType:
    model = served.models[0]
    found = "" if model.objects is None else f" It finds {model.objects:.0f} objects a frame"
    text = {
        "trained": f"Trained weights.{found and found + '.'}",
        "untrained": "Untrained weights: the model computes as long as a trained one, and finds noise."
        f"{found and found + ', and what a trained one finds takes time to read, and to suppress where there is NMS.'}",
        "fitted": "Untrained weights: the model computes as long as a trained one, and finds noise."
        f"{found and found + ', about as many as a trained one, so that reading them takes as long. It has no NMS.'}",
    }
    return Text(text[served.weights])


def _decoding(rows: Sequence[Decoding]) -> RenderableType:
    table = Table(
        "decoding threads",
        "segments/s",
        "ms of a core a segment",
        title="decoding alone, by PyAV",
        title_justify="left",
    )
    for row in rows:
        table.add_row(str(row.threads), f"{row.segments_s:.1f}", f"{row.cpu_s * 1e3:.1f}")
    return table


def _models(models: Sequence[Model]) -> RenderableType:
    table = Table(
        "model",
        "batch",
        "images/s",
        "first call, s",
        "of it copied",
        "objects",
        title="models alone",
        title_justify="left",
    )
    notes = []
    for model in models:
        for batch in model.batches:
            share = _copy_share(model, batch.size)
            table.add_row(
                model.name,
                str(batch.size),
                f"{batch.images_s:.1f}",
                f"{batch.first_s:.2f}",
                "" if share is None else f"{share:.0%}",
                "" if model.objects is None else f"{model.objects:.0f}",
            )
        if model.tuned is not None:
            notes.append(Text(f"{model.name}: with cuDNN's search for kernels {model.tuned:.2f} times the images/s"))
    return Group(table, *notes)


def _copy_share(model: Model, size: int) -> float | None:
    """Return the share of a batch's time that its copy to the GPU takes."""
    (batch,) = (b for b in model.batches if b.size == size)
    return None if batch.copy_s is None else batch.copy_s * batch.images_s / size


def _replica(served: Served, machine: Machine) -> RenderableType:
    run, table = (
        served.run,
        Table(
            show_header=False, title=f"a replica with a backlog of {served.run.count} segments", title_justify="left"
        ),
    )
    rows = {
        "settings": " ".join(
            f"{k}={v}" for k, v in run.environment.items() if "MODEL" not in k and "PRETRAINED" not in k
        ),
        "segments/s": f"{run.segments_s:.1f} over {run.seconds:.1f} s ({run.images_s:.1f} images/s)",
        "its device computes": f"{run.busy:.0%} of the time",
        **({"GPU": _gpu(run)} if machine.gpu else {}),
        "CPU": f"{run.cores:.2f} of {machine.host.cores} cores, {run.cpu_s * 1e3:.1f} ms of a core a segment",
        "memory": f"{run.memory_mb:.0f} MB at most",
        "a segment": ", ".join(f"{stage} {seconds * 1e3:.0f} ms" for stage, seconds in run.stages.items()),
        "from its start to an event": f"{run.first_s:.1f} s, weights on the machine",
        "bound by": plan.REASONS[served.bound],
    }
    if run.objects is not None:
        rows["objects of an event's frame"] = f"{run.objects:.1f}"
    if run.delay:
        d = run.delay
        rows[f"at {d.arrivals_s:.1f} arrivals/s"] = (
            f"{d.p50_s:.2f} s (p50), {d.p95_s:.2f} s (p95) from arrival to event, of {d.count}"
        )
    if run.failed:
        rows["failed"] = f"{run.failed} tries"
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _gpu(run: Run) -> str:
    load = run.load
    if load.utilisation is None:
        return "utilisation and memory unknown: nvidia-smi says neither"
    memory = "memory unknown" if load.memory_mb is None else f"{load.memory_mb:.0f} MB at most"
    watts = "" if load.watts is None else f", {load.watts:.0f} W"
    return f"a kernel runs in {load.utilisation:.0%} of the time, {memory}{watts}"


def _nvdec(found: Hardware) -> RenderableType:
    if found.not_measured:
        return Text(f"Decoding by the GPU was not measured: {found.not_measured}.")
    table = Table(
        "threads",
        "segments/s",
        "ms of a core a segment",
        title="decoding 5 frames a second by the GPU (NVDEC), with DECODE_DEVICE=cuda; the first segment, with a new "
        f"decoder, took {found.new_s * 1e3:.0f} ms",
        title_justify="left",
    )
    for row in found.decoding:
        table.add_row(str(row.threads), f"{row.segments_s:.1f}", f"{row.cpu_s * 1e3:.1f}")
    return table


def _carries(services: Sequence[Served], segment_s: float) -> RenderableType:
    load = f"at {capacity.LOAD:.0%} load"
    table = Table(
        "service",
        "cameras at real time",
        load,
        "cores a camera",
        "to set",
        title="what a replica carries",
        title_justify="left",
    )
    for s in services:
        n, prefix = s.numbers, s.name.upper()
        settings = (
            f"segments-per-second {n.rate}, lagThreshold {n.threshold.value} (beside demand {n.threshold.fallback}), "
            f"{prefix}_BATCH_SIZE={n.batch} {prefix}_THREADS={n.threads}, CPU {n.cpu}, "
            f"MAX_ACK_PENDING={n.max_ack_pending} for {n.replicas} replicas"
        )
        table.add_row(s.name, str(s.cameras), str(s.cameras_planned), f"{s.run.cpu_s / segment_s:.3f}", settings)
    return table

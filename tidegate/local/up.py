"""`tidegate up`: the stack and its live view, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console

from services.scaler.cost.spent import Spent
from services.scaler.keda.scaledobject import JetStreamTrigger, ScaledObject
from services.scaler.local.autoscaler import ScalerState
from shared.contract import names
from shared.contract.topology import TopologySettings
from shared.runtime import telemetry
from shared.runtime.errors import SettingError
from shared.runtime.settings import BusSettings, load
from shared.runtime.tasks import unless
from tidegate.local.configuration import scaled_object as find_scaled_object
from tidegate.local.stack import SEARCH, VLM, Stack
from tidegate.view.monitor import Monitor
from tidegate.view.terminal import View


async def run(
    data: Path,
    *,
    port: int,
    scaled_object: str | None,
    speed: float,
    plain: bool,
    search: bool,
    analytics: bool,
    vlm: bool,
) -> None:
    """Run until SIGINT or SIGTERM; a second one ends it at once, and the workers with it. Raises TidegateError."""
    if search and importlib.util.find_spec("lancedb") is None:
        raise SettingError("--search needs what is not installed: pip install 'tidegate[embed,search]'")
    if analytics and importlib.util.find_spec("scipy") is None:
        raise SettingError("--analytics needs what is not installed: pip install 'tidegate[analytics]'")
    console = Console()
    live = console.is_terminal and not plain
    stop = _until_signalled()
    scaled = {"cv": fit(find_scaled_object("cv", scaled_object), "CV_DEVICE")}
    if search:
        scaled["embed"] = fit(_embed(), "EMBED_DEVICE")
    if vlm:
        scaled["vlm"] = _vlm()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _logs(data, live):
        started = time.monotonic()
        # Alerts go where WEBHOOK_URL says, if it says so.
        told = ("webhook",) if os.environ.get("WEBHOOK_URL") else ()
        steady = (*(SEARCH if search else ()), *(("analytics", *told) if analytics else ()), *(VLM if vlm else ()))
        async with Stack(data, scaled, steady=steady, port=port, speed=speed) as stack:
            metrics = telemetry.serve(load(BusSettings), stack.health)
            for line in stack.changed:
                console.print(line, style="dim")
            console.print(
                f"NATS at [bold]{stack.server.url}[/], state in [bold]{data}[/], logs in {data}/logs, "
                f"up to {scaled['cv'].spec.max_replica_count} workers, metrics on port {metrics}\n"
                "in another terminal: tidegate camera add lobby rtsp://…    tidegate watch"
                + ("    tidegate rules set lobby lobby.yaml" if analytics else "")
                + ('    tidegate find "a person"' if search else "")
                + ('    tidegate ask "what happens?" --camera lobby' if vlm else "")
            )

            async def show() -> None:
                async with (
                    Monitor(stack.admin, lambda: stack.autoscalers["cv"].state) as monitor,
                    View(monitor, title="up", console=console) if live else contextlib.nullcontext(),
                ):
                    await stack.failed()

            # Beginning takes as long as the server does: Ctrl-C must not wait for it.
            await unless(stop, show())
            console.print("stopping: workers finish what they hold")
            states, seconds = {n: a.state for n, a in stack.autoscalers.items()}, time.monotonic() - started
        for name, state in states.items():
            console.print((f"{name}: " if len(states) > 1 else "") + spent(state, seconds).describe())


def _embed() -> ScaledObject:
    """What `deploy/keda/crops` changes: where objects are embedded, work comes from their detections."""
    scaled = find_scaled_object("embed")
    if not load(TopologySettings).embed_crops:
        return scaled
    triggers = tuple(
        msgspec.structs.replace(t, stream=names.EVENTS) if isinstance(t, JetStreamTrigger) else t
        for t in scaled.triggers
    )
    return msgspec.structs.replace(scaled, triggers=triggers)


def _vlm() -> ScaledObject:
    """Its settings are read here too, so that what is missing is said before anything starts. Raises SettingError.

    A replica that starts its own vLLM takes the GPUs, or the cores, of this machine: one of them is what fits.
    """
    if importlib.util.find_spec("aiohttp") is None or importlib.util.find_spec("openinference") is None:
        raise SettingError("--vlm needs what is not installed: pip install 'tidegate[vlm]'")
    from services.vlm.settings import VlmSettings
    from services.vlm.vllm_server import find_python

    settings = load(VlmSettings)
    scaled = find_scaled_object("vlm")
    if settings.vlm_url:
        return scaled
    find_python(settings)
    return msgspec.structs.replace(scaled, spec=msgspec.structs.replace(scaled.spec, max_replica_count=1))


def spent(state: ScalerState, seconds: float) -> Spent:
    """What the workers cost until then."""
    return Spent(
        seconds=seconds,
        used_s=state.replica_seconds,
        busy_s=state.busy_seconds,
        idle_s=state.idle_seconds,
        warming_s=state.warming_seconds,
        peak=state.peak_replicas,
    )


def fit(scaled: ScaledObject, device: str) -> ScaledObject:
    """On a CPU more workers than cores only slow each other down: no more than that, whatever the cluster may have.

    device: the variable that says where they run.
    """
    most = max(scaled.spec.min_replica_count, os.cpu_count() or 1)
    if os.environ.get(device, "cpu") != "cpu" or scaled.spec.max_replica_count <= most:
        return scaled
    return msgspec.structs.replace(scaled, spec=msgspec.structs.replace(scaled.spec, max_replica_count=most))


def _until_signalled() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        if stop.is_set():
            # Children die with us by their parent-death signal.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        stop.set()

    for sig in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sig, told)
    return stop


@contextlib.contextmanager
def _logs(data: Path, live: bool) -> Iterator[None]:
    """Log lines would tear the live view: with it they go to a file."""
    settings = load(BusSettings)
    if not live:
        telemetry.configure(settings, "up")
        yield
        return
    (data / "logs").mkdir(exist_ok=True)
    with (data / "logs" / "up.log").open("a", buffering=1) as log, contextlib.redirect_stderr(log):
        telemetry.configure(settings, "up")
        yield

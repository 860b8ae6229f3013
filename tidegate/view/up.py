"""`tidegate up`: the stack and its live view, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape

from services.scaler.cost import Spent
from shared.contract import catalog, names
from shared.contract.catalog import Service
from shared.contract.rights.identities import ADMIN
from shared.contract.topology import TopologySettings
from shared.runtime import install, systemd, telemetry
from shared.runtime.errors import SettingError
from shared.runtime.pages import monitoring
from shared.runtime.settings import BusSettings, load
from shared.runtime.tasks import unless
from tidegate.keda.scaledobject import JetStreamTrigger, Limit, ScaledObject
from tidegate.local import declared, disk, preflight, server, tenants
from tidegate.local.readers import Place
from tidegate.local.scaling import scaled_objects
from tidegate.local.scaling.autoscaler import ScalerState
from tidegate.local.scaling.scaled_objects import scaled_object as find_scaled_object
from tidegate.local.stack import Stack
from tidegate.models import store
from tidegate.view.inert import one_line
from tidegate.view.monitor import Monitor
from tidegate.view.screen import Screen, logs_to
from tidegate.view.terminal import LiveView
from tidegate.view.waiting import telling

# Next commands, by the option that enables them.
NEXT = {
    "--analytics": "tidegate rules set lobby lobby.yaml",
    "--record": "tidegate clip lobby lobby.mp4",
    "--search": 'tidegate find "a person"',
    "--vlm": 'tidegate ask "what happens?" --camera lobby',
}


async def run(
    data: Path,
    *,
    files: Sequence[Path] = (),
    port: int | None,
    scaled_object: str | None,
    speed: float,
    plain: bool,
    **options: bool,
) -> None:
    """Run until SIGINT or SIGTERM; a second one ends it and the workers immediately. Raises TidegateError.

    files: site files to apply at the start. options: those of the catalog's `started_by`, without their dashes, and
    whether each is set.
    """
    site = declared.load(files) if files else None
    chosen = [f"--{option}" for option, is_set in options.items() if is_set]
    services = catalog.started(["up", *chosen], os.environ, declared.served(site.site) if site else ())
    check_extras(services, " ".join(("tidegate up", *chosen)), _extras_of_up(chosen))
    cv = store.chosen(data, os.environ)
    warnings = [cv.warning, *preflight.check(services, data, {"cv": cv.settings}), *disk.check(data / "jetstream")]
    scaled = {s.name: _scaled(s, scaled_object) for s in services if s.scaled_object}
    console = Screen(highlight=True)
    live = console.is_terminal and not plain
    stop = until_signalled()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _logs(data, live):
        started = time.monotonic()
        steady = [s.name for s in services if not s.scaled_object]
        env = {name: scaled_objects.environment(name, one) for name, one in scaled.items()}
        env["cv"] |= cv.settings
        async with Stack(data, scaled, steady=steady, port=port, speed=speed, env=env) as stack:
            _serve_metrics(stack)
            console.print(_greeting(stack, scaled["cv"], chosen))
            if cv.sentence:
                console.print(cv.sentence, markup=False, soft_wrap=True)
            await show_console(stack, console)
            for line in await _declare(stack, site, services):
                console.print(line, markup=False, soft_wrap=True)
            unused = (scaled_objects.unused(name, one) for name, one in scaled.items())
            for sentence in filter(None, (*warnings, *unused)):
                console.print(sentence, style="yellow", markup=False)
            systemd.notify("READY=1")
            # The start takes as long as the server's: Ctrl-C must not wait for it.
            await unless(stop, _show(stack, console, live))
            systemd.notify("STOPPING=1")
            console.print("stopping: workers finish what they hold")
            states, seconds = {n: a.state for n, a in stack.autoscalers.items()}, time.monotonic() - started
        for name, state in states.items():
            console.print((f"{name}: " if len(states) > 1 else "") + spent(state, seconds).describe())


async def _declare(stack: Stack, site: declared.Declared | None, services: Sequence[Service]) -> list[str]:
    """Apply a site, if any; return a line for each change and notice. Raises TidegateError."""
    running = [service.name for service in services]
    if site is None:
        return await _start_stored(stack, running)

    def place() -> Place:
        folder = stack.data / "secrets"
        return Place(folder, tenants.whose(folder, ADMIN), own=False)

    shown = await declared.compare(stack.admin, site, place)
    with telling() as tell:
        notes = await declared.apply(stack.admin, shown, place, tell)
    others = [*declared.ignored(site.site, running), *await _start_stored(stack, running)]
    return [one_line(line) for line in (*map(str, shown.plan.changes), *shown.plan.notices, *notes, *others)]


async def _start_stored(stack: Stack, running: Sequence[str]) -> list[str]:
    """Start the services that the stored site has a section for; return a line for each. Raises BusError."""
    lines = []
    for name in await declared.stored(stack.admin):
        if name in running:
            continue
        if missing := catalog.missing(catalog.find(name).extras):
            remedy = install.command(*catalog.in_short(missing))
            lines.append(f"the site has a {name}, which needs {', '.join(missing)}: {remedy}")
        else:
            await stack.add(name)
            lines.append(f"{name} starts too, as the site has one")
    return lines


async def _show(stack: Stack, console: Console, live: bool) -> None:
    """Show the live view, if any, until a part of the stack fails: raises its error."""
    if not live:
        await stack.failed()
        return
    async with (
        Monitor(stack.admin, lambda: stack.autoscalers["cv"].state) as monitor,
        LiveView(monitor, title="up", problems=lambda: stack.monitor.problems, console=console),
    ):
        await stack.failed()


async def show_console(stack: Stack, console: Console) -> None:
    """Print the URL of the pages. A link that signs in is for a user at a terminal, and for no log."""
    if not stack.console_url:
        remedy = install.command("console")
        console.print(f"pages for people are not installed: {remedy}", style="dim", markup=False)
    elif console.is_terminal:
        from tidegate.client.console import address, link

        once = address(stack.console_url, await link(stack.admin, "admin", "admin"))
        console.print(f"pages (this link signs you in, once): {once}", markup=False, soft_wrap=True)
    else:
        console.print(f"pages at {stack.console_url}; a link that signs in: tidegate console link", markup=False)


def _serve_metrics(stack: Stack) -> None:
    settings = msgspec.structs.replace(load(BusSettings), metrics_targets=str(stack.targets))
    monitoring.tell_prometheus(settings, "up", monitoring.serve(settings, stack.health))


def _greeting(stack: Stack, cv: ScaledObject, chosen: Sequence[str]) -> str:
    """Return the changes, the addresses, and the next commands."""
    changed = "".join(f"[dim]{escape(line)}[/]\n" for line in stack.changed)
    commands = "tidegate camera add lobby rtsp://…    tidegate watch" + "".join(
        f"    {command}" for option, command in NEXT.items() if option in chosen
    )
    return (
        f"{changed}NATS at [bold]{stack.server.url}[/], state in [bold]{stack.data}[/], logs in {stack.data}/logs, "
        f"metrics by {stack.targets}/*.json, up to {cv.spec.max_replica_count} workers\nin another terminal: {commands}"
    )


def check_extras(services: Sequence[Service], command: str, others: Sequence[str] = ()) -> None:
    """Check packages before the start: a worker without them would crash repeatedly. Raises SettingError."""
    missing = catalog.missing([*others, *(extra for service in services for extra in service.extras)])
    if "server" in others and "server" not in missing and not server.is_installed():
        missing.append("server")
    if missing:
        remedy = install.command(*catalog.in_short(missing))
        raise SettingError(f"'{command}' needs {', '.join(missing)}, which are not installed: {remedy}")


def _extras_of_up(chosen: Sequence[str]) -> list[str]:
    """Return the extras of the server, and those that only some values of a service's settings need."""
    extras = ["server"]
    if "--vlm" in chosen and os.environ.get("VLM_URL", "").startswith("sagemaker://"):
        extras.append("sagemaker")
    if "--record" in chosen and (os.environ.get("RECORDER_KEY_FILE") or "://" in os.environ.get("RECORDER_STORE", "")):
        extras.append("recorder")
    return extras


def _scaled(service: Service, path: str | None) -> ScaledObject:
    """Return the ScaledObject of a service, within this machine's cores. path: of cv's, instead of ours."""
    scaled = fitted(service, path if service.name == "cv" else None)
    return fit(scaled, service.device) if service.device else scaled


def fitted(service: Service, own: str | None) -> ScaledObject:
    """Return the ScaledObject of a service, fitted to processes instead of pods. own: a file instead of ours."""
    scaled = find_scaled_object(service.name, own)
    if not own:
        scaled = scaled_objects.with_query(scaled, coldStart=scaled_objects.COLD_START_S)
    if service.name == "embed":
        scaled = _by_crops(scaled)
    elif service.name == "vlm":
        scaled = _vlm(scaled)
    return scaled


def _by_crops(scaled: ScaledObject) -> ScaledObject:
    """Apply `deploy/keda/crops`: with object embeddings, the work comes from detections."""
    if not load(TopologySettings).embed_crops:
        return scaled
    triggers = tuple(
        msgspec.structs.replace(t, stream=names.EVENTS) if isinstance(t, JetStreamTrigger) else t
        for t in scaled.triggers
    )
    return scaled_objects.with_query(msgspec.structs.replace(scaled, triggers=triggers), stream=names.EVENTS)


def _vlm(scaled: ScaledObject) -> ScaledObject:
    """Read its settings here too, so that a missing one is reported before the start. Raises SettingError.

    A replica that starts its own vLLM takes the GPUs, or the cores, of this machine: only one fits.
    """
    from services.vlm.endpoints.vllm_server import find_python
    from services.vlm.settings import VlmSettings

    settings = load(VlmSettings)
    if settings.vlm_url:
        return scaled
    find_python(settings)
    return scaled.with_maximum(
        1, Limit(by="the one vLLM that this machine holds", remedy="use the VLM_URL of a larger endpoint")
    )


def spent(state: ScalerState, seconds: float) -> Spent:
    """Return the cost of the workers until then."""
    return Spent(
        seconds=seconds,
        used_s=state.replica_seconds,
        busy_s=state.busy_seconds,
        idle_s=state.idle_seconds,
        warming_s=state.warming_seconds,
        down_s=state.down_seconds,
        peak=state.peak_replicas,
    )


def fit(scaled: ScaledObject, device: str) -> ScaledObject:
    """Limit workers on a CPU to its cores, whatever the cluster's limit: more only slow each other down.

    device: the variable that selects their device.
    """
    cores = os.cpu_count() or 1
    if os.environ.get(device, "cpu") != "cpu" or scaled.spec.max_replica_count <= cores:
        return scaled
    return scaled.with_maximum(cores, scaled_objects.cores_limit(cores, device))


def until_signalled() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            # Children end with us by their parent-death signal.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        stop.set()

    for sig in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sig, on_signal)
    return stop


@contextlib.contextmanager
def _logs(data: Path, live: bool) -> Iterator[None]:
    """Send log lines to a file during the live view, which they would corrupt."""
    if live:
        with logs_to(data / "logs" / "up.log", "up"):
            yield
    else:
        telemetry.configure(load(BusSettings), "up")
        yield

"""`tidegate doctor`: checks of this machine, with remedies."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import click
import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from rich.console import Console

from shared.bus.client import Denied
from shared.client import copying
from shared.contract import catalog, names, topology
from shared.contract.catalog import Extra
from shared.contract.memory import GB, MB
from shared.models import weights as embedded_weights
from shared.models.runtimes import choice
from shared.runtime import install, ports
from shared.runtime.errors import SettingError, TidegateError
from shared.runtime.redact import redact
from shared.runtime.settings import load
from tidegate.cluster import keda
from tidegate.cluster.kubectl import Kubectl, NoAnswer
from tidegate.commands.options import data_option, screen
from tidegate.local import disk, encryption, healing, port, problems, running
from tidegate.local.encryption import StoreSettings
from tidegate.local.server import find_executable
from tidegate.view.findings import Finding, is_well, show
from tidegate.view.inert import one_line
from tidegate.view.waiting import waited_for

MIN_FREE_BYTES = 2048 * MB


KUBECTL_TIMEOUT_S = 5.0


@click.command()
@data_option
def doctor(data: Path | None) -> None:
    """Check Python, packages, server, streams, weights and ports, and print remedies.

    \b
    All checks:             tidegate doctor
    Only the problems:      tidegate doctor | grep -v ^ok

    Exit code 1 means that something that Tidegate needs is missing.
    """
    sys.exit(0 if asyncio.run(run(data or running.default_data(), screen())) else 1)


async def run(data: Path, out: Console) -> bool:
    """Print the findings; return whether none is bad."""
    checks: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("Python", _python),
        ("packages", _extras),
        ("weights, which are made ready once", _weights),
        ("one segment, decoded and detected in", _segment),
        ("devices of detectors' files", _devices),
        ("devices that decode", _decoders),
        ("models behind endpoints", _vlm),
        ("nats-server", _server),
        ("the disk", partial(_disk, data)),
        ("what is stored", partial(_store, data)),
        ("the port", _port),
        ("KEDA, by kubectl", _keda),
    )
    findings: list[Finding] = []
    for subject, check in checks:
        findings += await waited_for(asyncio.to_thread(check), f"looking at {subject}")
    findings += await waited_for(streams(data), "looking at what runs")
    show(findings, out)
    return is_well(findings)


def _python() -> list[Finding]:
    return [Finding("Python", "ok", f"{platform.python_version()} at {sys.executable}")]


# Extras that no service requires.
_OTHER_EXTRAS: Mapping[str, Extra] = {
    "demo": Extra(("aio_rtsp_toolkit", "matplotlib"), "the demo's cameras and pictures"),
    "simulate": Extra(("matplotlib", "numba"), "simulations that take seconds rather than minutes, and their plots"),
    "cv-onnx": Extra(("onnx", "onnxruntime"), "detectors' files on GPUs of NVIDIA and AMD"),
    "cv-torch": Extra(("torch", "torchvision", "transformers"), "torchvision's and transformers' detectors"),
    "embed-torch": Extra(("torch", "open_clip"), "CLIP models, which find by text"),
    "onvif": Extra(("httpx",), "ONVIF cameras by 'tidegate camera discover'"),
    "otel": Extra(("opentelemetry.exporter.otlp.proto.http",), "exported traces"),
}


def _extras() -> list[Finding]:
    """Check extras. A missing one is bad only if `tidegate up` always needs it."""
    needed = {"server", *(extra for service in catalog.started(["up"], {}) for extra in service.extras)}
    findings = []
    for name, extra in {**catalog.EXTRAS, **_OTHER_EXTRAS}.items():
        absent = [module for module in extra.modules if not catalog.is_importable(module)]
        if absent:
            level = "bad" if name in needed else "note"
            remedy = f"{install.command('up' if name in needed else name)} for {extra.purpose}"
            findings.append(Finding(f"extra {name}", level, f"{', '.join(absent)} not installed", remedy))
        else:
            findings.append(Finding(f"extra {name}", "ok", f"for {extra.purpose}"))
    return findings


def _weights() -> list[Finding]:
    if not catalog.is_importable("openvino"):
        return []
    from services.cv.detectors import openvino_ssd

    features = partial(embedded_weights.find, "efficientnet_lite3.tflite", extra="embed")
    findings = []
    for subject, find in (("weights of cv", openvino_ssd.prepare), ("weights of embed", features)):
        try:
            findings.append(Finding(subject, "ok", f"{find()}"))
        except TidegateError as e:
            findings.append(Finding(subject, "bad", "not found", str(e)))
    return findings


def _segment() -> list[Finding]:
    """Check that installed packages work, by one segment: an import alone does not show it."""
    if not catalog.is_importable("openvino"):
        return []
    try:
        from tidegate.demo import smoke_test

        result = smoke_test.run()
    except Exception as e:
        remedy = "install Tidegate anew, in an environment of its own"
        return [Finding("one segment", "bad", f"{type(e).__name__}: {e}", remedy)]
    source = "drawn, for want of the demo's footage" if result.drawn else ", ".join(result.found)
    return [Finding("one segment", "ok", f"{result.analysed} of {result.frames} frames detected in: {source}")]


def _devices() -> list[Finding]:
    """Find the devices that run detectors' files here, by runtime. None but OpenVINO's CPU is needed."""
    found = choice.usable()
    able: dict[str, list[str]] = {}
    for one in found:
        if not one.reason:
            able.setdefault(choice.TITLES[one.runtime], []).append(one.kind)
    findings = [Finding("detectors' files", "ok", f"{name} on {', '.join(kinds)}") for name, kinds in able.items()]
    lines = {one.reason: ", ".join(other.kind for other in found if other.reason == one.reason) for one in found}
    for reason, kinds in lines.items():
        if reason:
            why, _, remedy = reason.partition(": ")
            findings.append(Finding(f"detectors' files on {kinds}", "note", why, remedy))
    return findings


def _decoders() -> list[Finding]:
    """Find the devices that decode video here. Only that of DECODE_DEVICE is needed."""
    if not catalog.is_importable("numpy"):
        return []
    from shared.video import accelerator
    from shared.video.budget import DecodeSettings

    try:
        wanted = load(DecodeSettings).decode_device
    except SettingError as e:
        return [Finding("decoding", "bad", "its settings can't be used", str(e))]
    able, findings = [accelerator.CPU], []
    for name in dict.fromkeys([wanted, *accelerator.KINDS]):
        try:
            if name != accelerator.CPU:
                accelerator.open_device(name)
                able.append(name)
        except accelerator.Unusable as e:
            findings.append(Finding(f"decoding on {name}", "bad" if name == wanted else "note", e.seen, e.remedy))
    return [Finding("decoding", "ok", f"on {', '.join(able)}; DECODE_DEVICE={wanted}"), *findings]


def _vlm() -> list[Finding]:
    """Check whether `tidegate up --vlm` could start with this environment."""
    if catalog.missing(["vlm"]):
        return []
    from services.vlm.endpoints.connection import probe
    from services.vlm.endpoints.vllm_server import find_python
    from services.vlm.settings import VlmSettings

    if not os.environ.get("VLM_URL") and not os.environ.get("VLM_MODEL"):
        remedy = "set VLM_URL to an endpoint, or VLM_MODEL for a vLLM of its own: docs/how-to/ask.md"
        return [Finding("vision language model", "note", "none is named", remedy)]
    try:
        settings = load(VlmSettings)
        where = redact(settings.vlm_url) or f"{settings.vlm_model}, by vLLM in {find_python(settings)}"
        error = asyncio.run(probe(settings)) if settings.vlm_url.startswith(("http://", "https://")) else ""
    except TidegateError as e:
        return [Finding("vision language model", "bad", "can't be used", str(e))]
    if error:
        return [Finding("vision language model", "bad", error, "start it there, or correct VLM_URL")]
    return [Finding("vision language model", "ok", where)]


def _server() -> list[Finding]:
    try:
        executable = find_executable()
    except TidegateError as e:
        return [Finding("nats-server", "bad", "not installed", str(e))]
    if not catalog.is_importable("bcrypt"):
        return [Finding("nats-server", "bad", "bcrypt not installed", install.command("server"))]
    version_output = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False)
    return [Finding("nats-server", "ok", f"{version_output.stdout.strip()} at {executable}")]


def _disk(data: Path) -> list[Finding]:
    folder = next(p for p in (data, *data.parents) if p.exists())
    if not folder.is_dir():
        return [Finding("data directory", "bad", f"{folder} is a file", "choose another with --data")]
    free = shutil.disk_usage(folder).free
    found = f"{free // MB} MB free at {folder}"
    if not os.access(folder, os.W_OK):
        return [Finding("data directory", "bad", f"{folder} can't be written", "choose another with --data")]
    if free < MIN_FREE_BYTES:
        return [Finding("disk", "bad", found, "free some, or choose a folder on another disk with --data")]
    remedy = "free some, or choose MEDIA_MAX_BYTES, EVENTS_MAX_BYTES and DLQ_MAX_BYTES"
    try:
        configured = load(topology.TopologySettings)
        limits = disk.fitted(configured, disk.room(data / "jetstream"), {})
    except SettingError as e:
        # Only the server knows whether its stored streams already have these limits.
        return [Finding("disk", "note" if (data / "jetstream").exists() else "bad", found, str(e))]
    if limits != configured:
        return [
            Finding(
                "disk", "note", f"{found}: 'tidegate up' fits the limits of streams, {disk.describe(limits)}", remedy
            )
        ]
    return [Finding("disk", "ok", found)]


def _store(data: Path) -> list[Finding]:
    """Check whether `tidegate up` could read the stored data."""
    store = data / "jetstream"
    try:
        settings = load(StoreSettings)
        encryption.usable_key(store, data / "secrets", settings)
    except SettingError as e:
        return [Finding("stored", "bad", "can't be read", str(e))]
    if encryption.is_encrypted(store):
        return [Finding("stored", "ok", f"encrypted, by {data / 'secrets' / encryption.KEY}: keep a copy elsewhere")]
    if settings.store_encryption == "off":
        return [Finding("stored", "note", "STORE_ENCRYPTION=off: readable by who has the disk", "leave it unset")]
    return [Finding("stored", "ok", "'tidegate up' encrypts it")]


def _port() -> list[Finding]:
    if not ports.is_free(port.DEFAULT):
        found = f"{port.DEFAULT} is taken by {ports.holder(port.DEFAULT)}"
        return [Finding("port", "note", found, "'tidegate up' takes another by itself, and stays there")]
    return [Finding("port", "ok", f"{port.DEFAULT} is free")]


def _keda() -> list[Finding]:
    """Check the version of KEDA, if `kubectl` is installed and its current context reaches a cluster."""
    if not Kubectl.is_there():
        return []
    try:
        crd = Kubectl(timeout_s=KUBECTL_TIMEOUT_S).object("customresourcedefinitions", keda.CRD)
    except NoAnswer as e:
        return [
            Finding("KEDA", "note", one_line(str(e)), f"a cluster needs {keda.NEEDS}; on one machine there is none")
        ]
    if missing_fields := keda.lacking(crd):
        found = f"{keda.version(crd) or 'it'} does not know {', '.join(missing_fields)}"
        return [Finding("KEDA", "bad", found, f"upgrade it to {keda.NEEDS}")]
    return [Finding("KEDA", "ok", keda.version(crd) or "it knows every field of deploy/keda/")]


async def streams(data: Path) -> list[Finding]:
    """Check that the running server has the streams, consumers and buckets of the settings."""
    try:
        limits = load(topology.TopologySettings)
    except SettingError as e:
        return [Finding("settings", "bad", "of streams", str(e))]
    try:
        client = await running.connect(data)
    except TidegateError as e:
        return [Finding("running", "note", "nothing", str(e))]
    findings = [Finding("running", "ok", client.connected_url.netloc if client.connected_url else "")]
    if not os.environ.get("NATS_URL"):
        findings += _processes(data)
    js = client.jetstream()
    lookups: list[tuple[str, Callable[[], Awaitable[object]]]] = []
    for stream in topology.streams(limits):
        lookups.append((f"stream {stream.name}", partial(js.stream_info, str(stream.name))))
    for stream_name, consumer in topology.consumers(limits):
        name = str(consumer.durable_name)
        lookups.append((f"consumer {name}", partial(js.consumer_info, stream_name, name)))
    for bucket in topology.buckets(limits):
        lookups.append((f"bucket {bucket}", partial(js.key_value, bucket)))
    try:
        findings += [await _check_exists(subject, lookup) for subject, lookup in lookups]
        findings += await _storing(client)
        findings += await _copying(client)
        if not os.environ.get("NATS_URL"):
            findings += await _growth(client, data)
    except Denied as e:
        denied, _, remedy = str(e).partition(": ")
        findings.append(Finding("streams", "note", denied, remedy))
    finally:
        await client.close()
    return findings


def _processes(data: Path) -> list[Finding]:
    """Check that all processes of the running stack can work."""
    found = []
    for problem in problems.read(data):
        log = data / "logs" / f"{problem.replica}.log"
        remedy = f"see {log}" if log.exists() else "correct it, and start 'tidegate up' again"
        found.append(Finding(problem.replica, "bad", f"{problem.kind}: {one_line(problem.sentence)}", remedy))
    return found or [Finding("processes", "ok", "none has died, and each is ready")]


async def _copying(client: Client) -> list[Finding]:
    """Check that ALERTS copies EVENTS."""
    try:
        at = await copying.stuck_at(client, dt.datetime.now(dt.UTC))
    except (NotFoundError, TimeoutError, nats.errors.Error):
        return []  # `streams` names the missing ones
    if at is None:
        return [Finding("copy of alerts", "ok", f"{names.ALERTS} has those of {names.EVENTS}")]
    found = f"{names.ALERTS} stops at sequence {at.seq} of {names.EVENTS}, {at.subject} of {at.time:%Y-%m-%d %H:%M} UTC"
    remedy = f"'nats stream rmm {names.EVENTS} {at.seq}': the server can't copy this message, and goes on without it"
    return [Finding("copy of alerts", "bad", found, remedy)]


async def _storing(client: Client) -> list[Finding]:
    """Check that the server stores messages. Your own server reports it by /healthz, so there is no finding."""
    found = await healing.stopped_streams(client)
    if found is None:
        return []
    if not found:
        return [Finding("storing", "ok", "all streams")]
    remedy = "free some of its disk: 'tidegate up' restarts nats-server then"
    return [Finding("storing", "bad", f"not {', '.join(sorted(found))}: {min(found.values())}", remedy)]


async def _growth(client: Client, data: Path) -> list[Finding]:
    """Check that the free disk space suffices for the streams' limits."""
    try:
        infos = await client.jetstream().streams_info()
    except (TimeoutError, nats.errors.Error):
        return []
    more = sum(max(0, (info.config.max_bytes or 0) - info.state.bytes) for info in infos)
    free = shutil.disk_usage(data).free
    found = f"may grow by {more / GB:.1f} GB, and {free / GB:.1f} GB are free"
    if more <= free:
        return [Finding("streams", "ok", found)]
    remedy = "free some, or stop 'tidegate up' and start it again: it fits the limits. A full disk stops streams"
    return [Finding("streams", "note", found, remedy)]


async def _check_exists(subject: str, lookup: Callable[[], Awaitable[object]]) -> Finding:
    try:
        await lookup()
        return Finding(subject, "ok", "there")
    except NotFoundError:
        return Finding(subject, "bad", "missing", "tidegate setup")
    except (TimeoutError, nats.errors.Error) as e:
        return Finding(subject, "bad", repr(e), "is JetStream enabled, and may this user ask?")

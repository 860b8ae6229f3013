"""The bodies of replies: what runs, and the measured models."""

from __future__ import annotations

import datetime as dt

import msgspec

from services.console.models.library import Found, Models
from services.console.now.replicas import ReplicaNow
from services.console.web.asker import Asker
from shared.models.measured import StoredModel
from shared.runtime.plain import plain
from shared.runtime.redact import redact


class MeasuredRate(msgspec.Struct, frozen=True, kw_only=True):
    """segments_s: segments a second of a replica, rounded down. segment_s: seconds of video in a segment.

    fps: analysed frames a second of video. load: the share of the rate that is planned for. cameras: for a replica at
    that load. busy_cores: of the machine's cores. limited_by: what to change for a higher rate.
    """

    segments_s: float
    segment_s: float
    fps: float
    load: float
    cameras: int
    latency_target_s: float
    busy_cores: float
    limited_by: str


class MeasuredOn(msgspec.Struct, frozen=True, kw_only=True):
    """The machine. was_busy: other programs took cores, so the figures are too low. footage: None for a person who sees
    only some cameras, as it names one.
    """

    cpu: str
    cores: int
    was_busy: bool
    time: dt.datetime
    footage: str | None


class MeasuredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as 'tidegate model add' measured it. error: why its file can't be read; then it has a name alone.

    detector: its name in heartbeats and events. warning: that its files changed, or that one is missing. is_checked:
    False while its files are read for the first time. settings: of cv, as an environment file. scaled_object: YAML;
    empty if it was written elsewhere. has_picture: whether frames with its boxes can be requested.
    """

    name: str
    is_active: bool
    error: str = ""
    warning: str = ""
    is_checked: bool = True
    spec: str = ""
    detector: str = ""
    device: str = ""
    rate: MeasuredRate | None = None
    measured: MeasuredOn | None = None
    settings: str = ""
    scaled_object: str = ""
    has_picture: bool = False


class ModelsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """has_folder: whether this console has a folder of measured models. active: the name of the active model; empty:
    the default. more: how many models are not listed. running: replicas of cv; None for a person who sees only some
    cameras. price: of a replica-hour, by COST_PER_HOUR; None if not set.
    """

    has_folder: bool
    active: str
    models: list[MeasuredModel]
    more: int = 0
    running: list[ReplicaNow] | None = None
    price: float | None = None


def measured_models(read: Models, asker: Asker) -> list[MeasuredModel]:
    """Return the models as the person may see them: frames and footage are of cameras."""
    return [_model(found, asker, is_active=found.name == read.active) for found in read.found]


def _model(found: Found, asker: Asker, *, is_active: bool) -> MeasuredModel:
    model, sees_all = found.model, asker.cameras is None
    if model is None:
        return MeasuredModel(name=plain(found.name)[:64], is_active=is_active, error=_inert(found.error))
    return MeasuredModel(
        name=model.name,
        is_active=is_active,
        warning=_inert(found.warning),
        is_checked=found.is_checked,
        spec=_inert(model.spec),
        detector=plain(model.detector),
        device=plain(model.settings.get("CV_DEVICE", "cpu")),
        rate=_rate(model),
        measured=MeasuredOn(
            cpu=plain(model.machine.cpu),
            cores=model.machine.cores,
            was_busy=model.machine.was_busy,
            time=model.added,
            footage=plain(model.footage) if sees_all else None,
        ),
        settings="".join(f"{_inert(name)}={_inert(value)}\n" for name, value in model.settings.items()),
        scaled_object=found.scaled_object,
        has_picture=found.has_sheet and sees_all,
    )


def _rate(model: StoredModel) -> MeasuredRate:
    return MeasuredRate(
        segments_s=model.service_rate,
        segment_s=model.rate.segment_s,
        fps=model.fps,
        load=model.load,
        cameras=model.cameras,
        latency_target_s=model.latency_target_s,
        busy_cores=model.rate.cores,
        limited_by=model.rate.bottleneck,
    )


def _inert(text: str) -> str:
    return plain(redact(text))

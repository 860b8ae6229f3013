"""Segments decoded on a device, and in software wherever the device fails: by devices of software, and by none."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import pytest
from av.codec.hwaccel import HWAccel
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from shared.runtime.backoff import Breaker
from shared.runtime.errors import BadSegment, OverBudget, SettingError
from shared.runtime.settings import load
from shared.video import accelerator, hardware
from shared.video.accelerator import Device
from shared.video.budget import Budget, DecodeSettings
from shared.video.decode import Decoded, FrameProbe, decode
from shared.video.segments import SegmentDecoder
from tests.fuzz import good
from tests.support.examples import examples

SOFTWARE = "yuv420p"


def payload(codec: str = "libx264") -> bytes:
    return good.pieces(codec)[0].payload


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class FailingDecoder:
    """A decoder of PyAV whose device is lost after some packets. `error` ends each call then."""

    def __init__(self, decoder: Any, packets: int, error: Callable[[], Exception]) -> None:
        self._decoder, self._left, self._error = decoder, packets, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def decode(self, packet: Any = None) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._error()
        return self._decoder.decode(packet)


class FakeDevice(Device):
    """A device whose decoders are libavcodec's. packets: after which it is lost; None: never."""

    def __init__(self, *, packets: int | None = None, format: str = SOFTWARE, clock: Clock | None = None) -> None:
        breaker = Breaker(accelerator.SUSPENSION, clock=clock or Clock())
        super().__init__("fake", None, format, breaker=breaker)
        self.packets = packets
        self.taken: list[Any] = []

    def take(self, payload: bytes) -> Any:
        decoder: Any = super().take(payload)
        if self.packets is not None:
            lost = lambda: av.error.ExternalError(1, "Generic error in an external library")  # noqa: E731
            decoder = FailingDecoder(decoder, self.packets, lost)
        self.taken.append(decoder)
        return decoder


def equal(one: Decoded, other: Decoded) -> bool:
    return (one.size, one.damaged) == (other.size, other.damaged) and all(
        a.offset == b.offset and np.array_equal(a.pixels, b.pixels)
        for a, b in zip(one.pictures, other.pictures, strict=True)
    )


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("wanted", [{"fps": 5}, {"fps": 25, "size": (96, 64)}, {"at": [0.3], "within": (100, 100)}])
@pytest.mark.parametrize("gop", [10, 30])
def test_a_reused_decoder_gives_the_same_pictures(codec: str, gop: int, wanted: dict[str, Any]) -> None:
    """Also of segments that need the earlier ones of their GOP."""
    device = FakeDevice()
    payloads = [piece.payload for piece in good.pieces(codec, gop)]
    for n, data in [*enumerate(payloads), *enumerate(payloads)]:
        before = payloads[:n] if gop == 30 else []
        found, fallback = hardware.decode(data, device, before=before, **wanted)
        assert fallback is None and equal(found, decode(data, before=before, **wanted))
    assert len(set(map(id, device.taken))) < len(device.taken)


def test_without_a_device_nothing_differs() -> None:
    found, fallback = hardware.decode(payload(), None, fps=5)
    assert fallback is None and equal(found, decode(payload(), fps=5))
    assert load(DecodeSettings, {}).decoding_device() is None
    load(DecodeSettings, {}).check()


@settings(max_examples=examples(20))
@given(packets=st.integers(0, 12))
def test_a_device_lost_at_any_packet_loses_no_picture(packets: int) -> None:
    found, fallback = hardware.decode(payload(), FakeDevice(packets=packets), fps=25)
    assert equal(found, decode(payload(), fps=25))
    assert fallback is None or (fallback.cause == "failed" and "external library" in fallback.reason)


def test_a_decoder_with_a_problem_is_dropped() -> None:
    device = FakeDevice(packets=3)
    hardware.decode(payload(), device, fps=25)
    device.packets = None
    found, fallback = hardware.decode(payload(), device, fps=25)
    assert fallback is None and equal(found, decode(payload(), fps=25))
    assert device.taken[0]._decoder is not device.taken[1]


def test_a_device_that_gives_no_decoder_is_suspended_and_tried_again() -> None:
    """The device of this machine: libav finds no driver."""
    clock = Clock()
    device = FakeDevice(clock=clock)
    device._accelerator = HWAccel("cuda", "0")
    causes = []
    for _ in range(4):
        found, fallback = hardware.decode(payload(), device, fps=5)
        assert fallback and equal(found, decode(payload(), fps=5))
        causes.append((fallback.cause, fallback.reason))
    assert causes[0] == ("failed", "fake gives no decoder: Operation not permitted")
    assert [cause for cause, _ in causes] == ["failed", "failed", "failed", "suspended"]
    device._accelerator = None
    assert hardware.decode(payload(), device, fps=5)[1] is not None
    clock.now += accelerator.SUSPENSION.longest_s
    assert hardware.decode(payload(), device, fps=5)[1] is None
    assert not device.breaker.is_open


def test_video_that_the_device_does_not_decode_is_unsupported() -> None:
    device = FakeDevice(format="cuda")
    for _ in range(5):
        found, fallback = hardware.decode(payload(), device, fps=5)
        assert equal(found, decode(payload(), fps=5))
        assert fallback and fallback.cause == "unsupported" and "h264" in fallback.reason
    assert not device.breaker.is_open


def test_a_damaged_segment_is_not_the_device_s_fault() -> None:
    damaged = payload()[: len(payload()) * 2 // 3]
    alone = decode(damaged, fps=25, frames=10)
    assert alone.damaged
    device = FakeDevice()
    for _ in range(5):
        found, fallback = hardware.decode(damaged, device, fps=25, frames=10)
        assert equal(found, alone) and fallback == ("damaged", alone.damaged)
    assert not device.breaker.is_open
    with pytest.raises(BadSegment):
        hardware.decode(b"no video", device, fps=25)


def test_the_budget_holds_on_a_device() -> None:
    device = FakeDevice()
    with pytest.raises(OverBudget):
        hardware.decode(payload(), device, fps=25, budget=Budget(1e-6))
    assert len(device.taken) == 1


def test_a_probe_sees_each_frame_once() -> None:
    seen: list[float] = []

    def enough(offset: float, grey: NDArray[np.uint8]) -> bool:
        seen.append(offset)
        return False

    _, fallback = hardware.decode(payload(), FakeDevice(packets=5), fps=25, probe=FrameProbe((32, 32), enough))
    assert fallback and seen == [picture.offset for picture in decode(payload(), fps=25).pictures]


async def test_fallbacks_are_counted_and_logged_once_a_camera(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def count(cause: str) -> float:
        return REGISTRY.get_sample_value("tidegate_decode_fallbacks_total", {"service": "t", "cause": cause}) or 0.0

    logged: list[tuple[str, str]] = []
    segments = SegmentDecoder(None, threads=1, budget=Budget(), service="t", device=FakeDevice(format="cuda"))
    monkeypatch.setattr(segments._log, "warning", lambda _, camera, cause, reason: logged.append((camera, cause)))
    for camera in ("lobby", "lobby", "gate", "lobby"):
        decoded = await segments.decode_alone(camera, payload(), lambda decoded: decoded, fps=5)
        assert equal(decoded, decode(payload(), fps=5))
    assert count("unsupported") == 4 and count("failed") == 0
    assert logged == [("lobby", "unsupported"), ("gate", "unsupported")]


@pytest.mark.parametrize("module", ["services.cv.__main__", "services.embed.__main__"])
def test_the_device_is_opened_before_the_model(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """libav refuses a CUDA context that a model's library has set up."""
    service, opened = importlib.import_module(module), []

    def refuse(name: str) -> None:
        opened.append(name)
        raise SettingError("no device")

    monkeypatch.setattr(accelerator, "device_of", refuse)
    monkeypatch.setattr(service, "load", lambda *_, **__: pytest.fail("the model is loaded first"))
    if module == "services.cv.__main__":
        loader, configured = service._models, load(service.CvSettings, {"DECODE_DEVICE": "cuda"})
    else:
        loader, configured = service._worker_embedder, load(service.EmbedSettings, {"DECODE_DEVICE": "cuda"})
    with pytest.raises(SettingError, match="no device"):
        loader(configured)
    assert opened == ["cuda"]


def test_idle_decoders_are_limited() -> None:
    device = FakeDevice()
    for n in range(accelerator.MOST_IDLE + 5):
        device.put_back(b"%d" % n + b"    moof", device.take(payload()))
    assert len(device._idle) == accelerator.MOST_IDLE


@pytest.mark.parametrize(
    ("name", "seen", "remedy"),
    [
        ("vaapi:/dev/dri/renderD128", f"PyAV {av.__version__} was built with FFmpeg", "--no-binary av av"),
        ("cuda:99", "libav reports", "NVIDIA_DRIVER_CAPABILITIES has compute,utility,video"),
    ],
)
def test_an_absent_device_is_refused_at_start(name: str, seen: str, remedy: str) -> None:
    if name.partition(":")[0] == "vaapi" and "vaapi" in accelerator.kinds():
        pytest.skip("this build of PyAV has VA-API")
    configured = load(DecodeSettings, {"DECODE_DEVICE": name})
    for refuses in (configured.check, configured.decoding_device):
        with pytest.raises(SettingError) as refusal:
            refuses()
        sentence = str(refusal.value)
        assert sentence.startswith(f"DECODE_DEVICE={name} can't be used: ")
        assert seen in sentence and remedy in sentence and sentence.endswith("or set DECODE_DEVICE=cpu")


def test_unknown_devices_are_refused() -> None:
    for name in ("gpu", "cuda:first", "qsv", "vaapi:renderD128"):
        with pytest.raises(SettingError, match="DECODE_DEVICE"):
            load(DecodeSettings, {"DECODE_DEVICE": name})


def test_the_trial_tells_a_right_picture_from_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator._try(None)
    monkeypatch.setattr(accelerator, "_LIGHT", 100)
    with pytest.raises(ValueError, match="it decodes a test picture to 192 and 64, not 100 and 64"):
        accelerator._try(None)

"""A GPU gives the results of the CPU. `make gpu` runs tests with the mark `gpu`; the CPU runs the same code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

WHY = "torch is an extra: pip install 'tidegate[cv-torch,embed-torch]'"
torch = pytest.importorskip("torch", reason=WHY)
for package in ("torchvision", "transformers", "open_clip"):
    pytest.importorskip(package, reason=WHY)

from bench import world  # noqa: E402
from bench.gpu import machine, stages, untrained  # noqa: E402
from services.cv.detectors import Detection, load  # noqa: E402
from services.embed.models import load as load_embedder  # noqa: E402
from shared.contract import names  # noqa: E402
from shared.contract.events import Detections  # noqa: E402
from shared.models import devices  # noqa: E402
from shared.models.runtimes import choice  # noqa: E402
from shared.models.torch import upload, upload_batch  # noqa: E402
from shared.video.decode import Image  # noqa: E402
from tests.support.processes.service_process import ServiceProcess  # noqa: E402
from tests.support.video.footage import make  # noqa: E402
from tests.support.video.onnx_exports import OnnxExport  # noqa: E402
from tidegate.demo import clips  # noqa: E402
from tidegate.local.server import NatsServer  # noqa: E402

# To import torch takes seconds: once is enough.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("torch")]

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SMALL: dict[str, Any] = {
    "d_model": 32,
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "encoder_in_channels": [16, 32, 64],
    "decoder_ffn_dim": 64,
    "decoder_attention_heads": 4,
    "decoder_in_channels": [32, 32, 32],
    "decoder_layers": 2,
    # Every place of the encoder is a query: half precision would select other ones.
    "num_queries": 300,
    "num_denoising": 0,
}


@pytest.fixture(autouse=True)
def gpu(request: pytest.FixtureRequest) -> None:
    """Skip tests marked `gpu` and name the missing part."""
    if request.node.get_closest_marker("gpu") and (reason := machine.missing()):
        pytest.skip(reason)


def backbone() -> Any:
    from transformers import RTDetrResNetConfig

    return RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 32, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )


def noise(count: int, width: int, height: int) -> list[Image]:
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


def near(found: list[Detection], wanted: list[Detection], share: float = 0.9) -> bool:
    """Whether nearly all expected objects are there: the same label, about the same box and score."""

    def same(a: Detection, b: Detection) -> bool:
        return a.label == b.label and abs(a.score - b.score) < 0.05 and np.abs(np.subtract(a.box, b.box)).max() < 0.02

    return sum(any(same(a, b) for a in found) for b in wanted) >= share * len(wanted) > 0


@pytest.mark.parametrize("device", DEVICES)
def test_any_number_of_pictures_arrives_intact(device: str) -> None:
    for images in (noise(1, 64, 48), noise(5, 64, 48), [*noise(1, 32, 16), *noise(1, 64, 48)]):
        for given, tensor in zip(images, upload(images, torch.device(device)), strict=True):
            assert (tensor.permute(1, 2, 0).cpu().numpy() == given).all()
    # The second batch reuses the memory of the first.
    first, second = noise(4, 640, 640), [255 - image for image in noise(4, 640, 640)]
    there = [upload_batch(images, torch.device(device)) for images in (first, second)]
    for images, batch in zip((first, second), there, strict=True):
        assert (batch.permute(0, 2, 3, 1).cpu().numpy() == np.stack(images)).all()


def trained_for_nothing(name: str, folder: Path) -> str:
    """A torchvision spec with weights of a file whose classes differ, so that the model detects something."""
    from torchvision.models import get_model

    torch.manual_seed(0)
    model = get_model(name, weights=None, weights_backbone=None)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear) and layer.out_features == 91:
            torch.nn.init.normal_(layer.bias, std=2.0)
    torch.save(model.state_dict(), folder / f"{name}.pth")
    return f"torchvision:{name}@{folder}/{name}.pth"


@pytest.mark.parametrize("device", DEVICES)
def test_torchvision_finds_the_same_objects_of_all_classes(device: str, tmp_path: Path) -> None:
    """Regression: boxes of high classes were infinite in half precision, because the NMS offsets each class."""
    spec = trained_for_nothing("fasterrcnn_mobilenet_v3_large_320_fpn", tmp_path)
    images = noise(3, 640, 360)
    wanted = load(spec, threads=2, min_score=0.05, batch_size=1).detect(images)
    found = load(spec, device=device, min_score=0.05, batch_size=1).detect(images)
    assert {o.label for objects in wanted for o in objects} - {"person"}
    assert all(near(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_rt_detr_finds_the_same_objects(device: str, tmp_path: Path) -> None:
    images = noise(3, 640, 640)
    spec = untrained.rt_detr(tmp_path, images, objects=12, floor=0.1, backbone_config=backbone(), **SMALL)
    wanted = load(spec, threads=2, min_score=0.1, batch_size=1).detect(images)
    found = load(spec, device=device, min_score=0.05, batch_size=3).detect(images)
    assert all(near(a, b, share=0.7) for a, b in zip(found, wanted, strict=True))
    # The mean number of detections is the requested one.
    assert sum(map(len, wanted)) == pytest.approx(12 * len(images), abs=len(images))


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        ("cpu", ""),
        *(
            pytest.param(*pair, marks=pytest.mark.gpu)
            for pair in (("cuda", "f32"), ("tensorrt", "f32"), ("tensorrt", "f16"))
        ),
    ],
)
def test_an_exported_file_finds_the_same_objects(
    device: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of each size, and again from the engine that TensorRT has stored."""
    if device != "cpu" and (reason := choice.why_not(devices.parse(device), "onnxruntime")):
        pytest.skip(reason)
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))
    array = np.zeros((6, 84), np.float32)
    array[:4, 7] = (24, 48, 16, 32)
    path = OnnxExport(tmp_path).output("output0", array, (5, 7)).save()
    images = [image // (2 + at) for at, image in enumerate(noise(5, 64, 64))]
    wanted = load(path, precision="f32", min_score=0.05).detect(images)
    options: dict[str, Any] = {"device": device, "precision": precision, "runtime": "onnxruntime", "batch_size": 4}
    for _ in range(2):
        detector = load(path, min_score=0.05, **options)
        for count in (1, 3, 5):
            for found, objects in zip(detector.detect(images[:count]), wanted, strict=False):
                assert [o.label for o in found] == [o.label for o in objects]
                assert [o.score for o in found] == pytest.approx([o.score for o in objects], abs=5e-3)
                assert found[0].box == pytest.approx(objects[0].box, abs=5e-3)
    engines = list((tmp_path / "cache").rglob("*.engine"))
    assert bool(engines) == (device == "tensorrt")


@pytest.mark.parametrize("device", DEVICES)
def test_vectors_are_nearly_equal(device: str) -> None:
    on_cpu = load_embedder("ViT-B-32", pretrained="random", threads=2, batch_size=1)
    there = load_embedder("ViT-B-32", pretrained="random", device=device, batch_size=1)
    images = noise(3, *on_cpu.size)
    assert (on_cpu.embed(images) * there.embed(images)).sum(axis=1).min() > 0.999
    assert (on_cpu.text(["a tram"]) * there.text(["a tram"])).sum() > 0.999


@pytest.mark.parametrize("device", DEVICES)
def test_each_stage_is_measured(device: str, tmp_path: Path) -> None:
    pieces = clips.pieces(make(tmp_path / "clip.mp4", frames=50), "lobby")
    spec = "torchvision:ssdlite320_mobilenet_v3_large@random"
    model = stages.detector(spec, pieces, device, [1, 2], 0.1)
    assert [b.size for b in model.batches] == [1, 2] and all(b.images_s > 0 for b in model.batches)
    assert all((b.copy_s is None) == (device == "cpu") for b in model.batches)
    assert (model.tuned is None) == (device == "cpu")
    assert [row.threads for row in stages.decoding(pieces, 0.1, [1, 2], at=[0.0])] == [1, 2]
    found = stages.hardware(pieces, 0.1, [1], device, at=[0.0])
    assert bool(found.decoding) != bool(found.not_measured)


@pytest.mark.parametrize("device", DEVICES)
async def test_a_replica_answers_for_each_segment(
    device: str, server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    """The process, as it runs in a pod, with full and partial batches."""
    js = admin.jetstream()
    pieces = clips.pieces(make(tmp_path / "clip.mp4"), "lobby") * 3
    await world.fill(js, pieces, "e")
    model = {"CV_MODEL": "torchvision:ssdlite320_mobilenet_v3_large@random", "CV_BATCH_SIZE": "16"}
    cv = ServiceProcess("cv", server.environment("cv"), tmp_path, CV_DEVICE=device, CV_THREADS="2", **model)
    try:
        await cv.until_it_says("/readyz", "^ok$")
        await world.acknowledged(js, names.MEDIA, "cv")
    finally:
        assert await cv.end() == 0, cv.log
    assert (await js.stream_info(names.EVENTS)).state.messages == len(pieces)
    assert (await js.stream_info(names.DLQ)).state.messages == 0
    event = msgspec.json.decode((await js.get_msg(names.EVENTS, 1)).data or b"", type=Detections)
    assert len(event.frames) == 5

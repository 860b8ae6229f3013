"""The torch backends with random weights: shapes, wiring and batching are tested here, accuracy is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is an extra: pip install 'tidegate[cv-torch]'")
pytest.importorskip("torchvision", reason="torch is an extra: pip install 'tidegate[cv-torch]'")
transformers = pytest.importorskip("transformers", reason="torch is an extra: pip install 'tidegate[cv-torch]'")

from services.cv.detectors import Detector, Image, load  # noqa: E402
from shared.runtime.errors import ModelError  # noqa: E402

# Importing torch takes seconds: once is enough.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("torch")]

LABELS = {0: "person", 1: "bicycle", 2: "car"}
SMALL = {
    "d_model": 32,
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "encoder_in_channels": [16, 32, 64],
    "encoder_layers": 1,
    "decoder_ffn_dim": 64,
    "decoder_attention_heads": 4,
    "decoder_in_channels": [32, 32, 32],
    "decoder_layers": 2,
    "num_queries": 30,
    "num_denoising": 0,
    "id2label": LABELS,
    "label2id": {label: id for id, label in LABELS.items()},
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def noise(count: int, width: int, height: int) -> list[Image]:
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


def check(detector: Detector, images: list[Image]) -> None:
    """Every image gets objects that an event can hold, and a batch gives what its images give alone."""
    together = detector.detect(images)
    assert len(together) == len(images)
    for image, found in zip(images, together, strict=True):
        (alone,) = detector.detect([image])
        assert found
        assert len(found) == len(alone)
        assert [d.score for d in found] == pytest.approx([d.score for d in alone], abs=2e-3)
        assert all(0 <= d.box[0] < d.box[2] <= 1 and 0 <= d.box[1] < d.box[3] <= 1 for d in found)
        assert {d.label for d in found} <= set(detector.labels)
    assert detector.detect([]) == []


def test_torchvision_models_of_fixed_size_get_that_size() -> None:
    detector = load("torchvision:ssdlite320_mobilenet_v3_large@random", threads=2, min_score=0.0, batch_size=2)
    assert detector.name == "ssdlite320_mobilenet_v3_large-untrained"
    assert detector.size == (320, 320)
    assert {"person", "bicycle"} <= set(detector.labels)
    assert len(detector.detect(noise(3, 320, 320))) == 3


def test_torchvision_models_that_keep_the_aspect_take_any_frame_size() -> None:
    detector = load("torchvision:fasterrcnn_mobilenet_v3_large_320_fpn@random", threads=2, min_score=0.0, batch_size=1)
    assert detector.size is None
    found = detector.detect([*noise(1, 320, 240), *noise(1, 640, 360)])
    assert [bool(objects) for objects in found] == [True, True]


def test_torchvision_weights_from_a_file_with_classes_of_its_own(tmp_path: Path) -> None:
    from torchvision.models import get_model

    name = "ssdlite320_mobilenet_v3_large"
    model = get_model(name, weights=None, weights_backbone=None, num_classes=3)
    torch.save(model.state_dict(), tmp_path / "ours.pth")
    with pytest.raises(ModelError, match="can't be loaded"):  # it has not COCO's 91 classes
        load(f"torchvision:{name}@{tmp_path}/ours.pth")
    (tmp_path / "ours.labels.txt").write_text("__background__\nred\nblue\n")
    detector = load(f"torchvision:{name}@{tmp_path}/ours.pth", threads=2, min_score=0.0, batch_size=2)
    assert detector.name == name
    assert detector.labels == ("red", "blue")
    check(detector, noise(2, 320, 320))


def test_an_unknown_torchvision_model_is_answered_with_the_known_names() -> None:
    with pytest.raises(ModelError, match="ssdlite320_mobilenet_v3_large"):
        load("torchvision:resnet18@random")


def rt_detr_v2() -> object:
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 32, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.RTDetrV2Config(backbone_config=backbone, **SMALL)
    return transformers.RTDetrV2ForObjectDetection(config)


def d_fine() -> object:
    backbone = transformers.HGNetV2Config(
        embedding_size=8,
        hidden_sizes=[8, 16, 32, 64],
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 8, 16, 32],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 16, 32, 64],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[2, 2, 2, 2],
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.DFineConfig(backbone_config=backbone, **SMALL)
    return transformers.DFineForObjectDetection(config)


@pytest.mark.parametrize("build", [rt_detr_v2, d_fine])
def test_hugging_face_from_a_folder(build: object, tmp_path: Path) -> None:
    folder = tmp_path / "tiny model"
    build().save_pretrained(folder)  # type: ignore[operator]
    transformers.RTDetrImageProcessor(size={"width": 160, "height": 128}).save_pretrained(folder)
    detector = load(f"hf:{folder}", threads=2, min_score=0.01, batch_size=2)
    assert detector.name == "tiny-model"
    assert detector.labels == tuple(LABELS.values())
    assert detector.size == (160, 128)
    check(detector, noise(3, 160, 128))


def test_a_missing_hugging_face_model_names_the_possible_places(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="hf:/path"):
        load(f"hf:{tmp_path}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: what is said without one can't be seen")
def test_a_missing_gpu_is_reported() -> None:
    with pytest.raises(ModelError, match=r"torch sees 0 GPUs; cpu works everywhere \(torch "):
        load("torchvision:ssdlite320_mobilenet_v3_large@random", device="cuda")

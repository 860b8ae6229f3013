"""CLIP models by open_clip with random weights: tests of shapes, wiring and batching, not of accuracy."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

torch = pytest.importorskip("torch", reason="torch is an extra: pip install 'tidegate[embed-torch]'")
open_clip = pytest.importorskip("open_clip", reason="torch is an extra: pip install 'tidegate[embed-torch]'")

from services.embed.models import load  # noqa: E402
from shared.contract import names  # noqa: E402
from shared.models.vectors import Encoded, unpack  # noqa: E402
from shared.runtime.errors import ModelError  # noqa: E402
from shared.video.decode import Image, decode  # noqa: E402
from tests.support.processes.service import settled  # noqa: E402
from tests.support.video.footage import make  # noqa: E402
from tests.support.waiting import patience_s  # noqa: E402
from tests.support.worlds.embed_world import embeddings, png, publish, running  # noqa: E402
from tidegate.demo import clips  # noqa: E402
from tidegate.local.server import NatsServer  # noqa: E402

# To import torch takes seconds: once is enough.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("torch")]

TINY: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": [48, 64], "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that open_clip knows by name."""
    path = tmp_path_factory.mktemp("configs") / "tiny-clip.json"
    path.write_text(json.dumps(TINY))
    open_clip.add_model_config(path)
    return "tiny-clip"


def noise(count: int, seed: int = 0) -> list[Image]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 48, 64, 3), np.uint8))


def save(name: str, path: Path) -> Path:
    """Weights of another model of the same shape."""
    torch.manual_seed(7)
    torch.save(open_clip.create_model(name, pretrained_text=False).state_dict(), path)
    return path


def test_an_untrained_model_is_the_same_in_every_process(tiny: str) -> None:
    model = load(tiny, pretrained="random", threads=2, batch_size=3)
    assert (model.name, model.dimension, model.size) == ("tiny-clip-untrained", 32, (64, 48))
    vectors = model.embed(noise(3))
    assert vectors.shape == (3, 32) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert model.embed([]).shape == (0, 32)
    torch.rand(5)
    assert load(tiny, pretrained="random").embed(noise(3)) == pytest.approx(vectors, abs=1e-5)


def test_a_batch_equals_its_single_images(tiny: str) -> None:
    model = load(tiny, pretrained="random", threads=2)
    images = noise(7)
    alone = np.concatenate([model.embed([image]) for image in images])
    assert (model.embed(images) * alone).sum(axis=1).min() > 0.999
    assert (alone @ alone.T)[0, 1:].max() < 0.999, "or it tells nothing apart, and every batch would do"


def test_pixels_equal_those_of_the_models_own_preparation(tiny: str) -> None:
    """Compare with open_clip's transform, on an image of the model's size: only scale, mean and deviation apply."""
    from PIL import Image as Pillow

    ours = load(tiny, pretrained="random")
    torch.manual_seed(0)
    model = open_clip.create_model(tiny, pretrained_text=False).eval()
    config = open_clip.get_model_preprocess_cfg(model)
    prepare = open_clip.image_transform((48, 64), is_train=False, mean=config["mean"], std=config["std"])
    (image,) = noise(1)
    with torch.inference_mode():
        theirs = model.encode_image(prepare(Pillow.fromarray(image))[None], normalize=True)[0].numpy()
    assert ours.embed([image])[0] @ theirs > 0.9999


def test_texts_share_the_space_and_long_ones_are_truncated(tiny: str) -> None:
    model = load(tiny, pretrained="random")
    vectors = model.text(["a man on a bicycle", "a tram", "a tram " * 500])
    assert vectors.shape == (3, model.dimension)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] < 0.9999
    assert model.text(["a man on a bicycle"])[0] == pytest.approx(vectors[0], abs=1e-5)


def test_weights_from_a_file_have_their_own_name(tiny: str, tmp_path: Path) -> None:
    weights = save(tiny, tmp_path / "ours v2.pt")
    model = load(tiny, pretrained=str(weights))
    assert model.name == "tiny-clip-ours-v2"
    assert model.embed(noise(1)) != pytest.approx(load(tiny, pretrained="random").embed(noise(1)), abs=1e-3)


def test_a_folder_with_weights_is_a_model(tiny: str, tmp_path: Path) -> None:
    folder = tmp_path / "my clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}})
    )
    with pytest.raises(ModelError, match="can't be loaded"):  # rather than a random model
        load(str(folder))
    save(tiny, folder / "open_clip_model.pth")
    model = load(str(folder), threads=2)
    assert (model.name, model.dimension, model.size) == ("my-clip", 32, (64, 48))
    with pytest.raises(ModelError, match="its own weights"):
        load(str(folder), pretrained="laion2b_s34b_b79k")
    assert load(str(folder), pretrained="random").name == "my-clip-untrained"


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


def test_weights_that_would_run_code_are_refused(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ModelError, match="can't be loaded"):
        load(tiny, pretrained=str(tmp_path / "weights.pt"))
    assert not (tmp_path / "harm").exists()


def test_weights_that_don_t_fit_are_refused(tiny: str, tmp_path: Path) -> None:
    torch.save({"visual.proj": torch.zeros(3)}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"EMBED_PRETRAINED.*can't be loaded"):
        load(tiny, pretrained=str(tmp_path / "weights.pt"))


async def test_texts_pictures_and_segments_meet_in_one_space(
    server: NatsServer, admin: Client, tiny: str, tmp_path: Path
) -> None:
    """The service over a real server: every vector is the model's, for each kind of request."""
    model = load(tiny, pretrained="random")
    pieces = clips.pieces(make(tmp_path / "clip.mp4"), "lobby")
    for n, piece in enumerate(pieces):
        await publish(admin, piece, n)
    picture = png(noise(1)[0])
    async with running(server, embed_model=tiny, embed_pretrained="random", embed_batch_size=3):
        await settled(admin)
        text = await admin.request(names.EMBED_TEXT, b'{"text": "a man on a bicycle"}', timeout=patience_s())
        image = await admin.request(names.EMBED_IMAGE, picture, timeout=patience_s())
    for answer, expected in ((text, model.text(["a man on a bicycle"])), (image, model.embed(noise(1)))):
        encoded = msgspec.json.decode(answer.data, type=Encoded)
        assert (encoded.model, encoded.dimension) == ("tiny-clip-untrained", 32)
        assert unpack(encoded.vector, 32) @ expected[0] > 0.999
    found = {event.segment.n: event for _, event in await embeddings(admin)}
    assert sorted(found) == list(range(len(pieces)))
    frames = [decode(piece.payload, at=[0.0], size=model.size).pictures[0].pixels for piece in pieces]
    for n, expected in enumerate(model.embed(frames)):
        assert found[n].model == "tiny-clip-untrained"
        assert unpack(found[n].vectors[0].vector, 32) @ expected > 0.999


@pytest.mark.parametrize(
    ("spec", "pretrained", "sentence"),
    [
        ("ViT-B-32", "", "EMBED_PRETRAINED is not set: ViT-B-32 has .*laion2b_s34b_b79k"),
        ("ViT-B-32", "laion9b", "EMBED_PRETRAINED='laion9b' is not known: .*laion2b_s34b_b79k"),
        ("ViT-B-33", "", "give openvino:efficientnet_lite3, a model of open_clip"),
        ("torchvision:resnet18", "random", "is not known"),
        ("hf-hub:", "", "can't be loaded"),
    ],
)
def test_an_unloadable_model_is_an_error_with_a_remedy(spec: str, pretrained: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=re.compile(sentence)):
        load(spec, pretrained=pretrained)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: what is said without one can't be seen")
def test_a_missing_gpu_is_reported(tiny: str) -> None:
    for device in ("cuda", "cuda:1"):
        with pytest.raises(ModelError, match="torch sees 0 GPUs; cpu works everywhere"):
            load(tiny, pretrained="random", device=device)

"""Embedding models of other packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.embed import model_spec
from services.embed.models import NoTextSide, load
from shared.models import plugins
from shared.runtime.errors import ModelError
from tests.support.plugins import install

HEAD = "import numpy as np\nfrom tidegate.plugins import embedder\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("theirs", None)


def test_vectors_of_a_function_get_length_1(folder: Path) -> None:
    code = """
def texts(texts):
    return [(len(text), 0, 0) for text in texts]

@embedder(dimension=3, size=(8, 6), text=texts)
def embed(images):
    assert images.shape[1:] == (6, 8, 3) and len(images) <= 2
    return images.mean(axis=(1, 2))
"""
    install(folder, "theirs", HEAD + code, group=plugins.EMBEDDERS, mine="embed")
    model_spec.check("mine", "", "cpu")
    model = load("mine", batch_size=2)
    assert (model.name, model.dimension, model.size) == ("mine-0.1", 3, (8, 6))
    red = np.zeros((6, 8, 3), np.uint8)
    red[..., 0] = 40
    np.testing.assert_allclose(model.embed([red, red, red]), [[1, 0, 0]] * 3)
    np.testing.assert_allclose(model.text(["a", "ab"]), [[1, 0, 0]] * 2)
    assert model.embed([]).shape == (0, 3)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("np.ones((len(images), 2))", r"an array \(8, 2\), expected \(8, 3\)"),
        ("np.full((len(images), 3), np.inf)", "not finite"),
        ("[['a']] * len(images)", "no numbers"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_other_results_are_refused_at_load(folder: Path, result: str, message: str) -> None:
    code = f"embed = embedder(dimension=3, size=(8, 8))(lambda images: {result})"
    install(folder, "theirs", HEAD + code, group=plugins.EMBEDDERS, mine="embed")
    with pytest.raises(ModelError, match=message):
        load("mine")


def test_a_function_without_texts_says_so(folder: Path) -> None:
    code = "embed = embedder(dimension=3, size=(8, 8))(lambda images: images.mean(axis=(1, 2)) + 1)"
    install(folder, "theirs", HEAD + code, group=plugins.EMBEDDERS, mine="embed")
    with pytest.raises(NoTextSide, match="give text="):
        load("mine").text(["a tram"])

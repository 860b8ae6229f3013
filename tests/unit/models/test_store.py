"""Measured models in a data directory: the active one, its settings, and files that changed since."""

from __future__ import annotations

import datetime as dt
import os
import stat
from pathlib import Path

import pytest

from services.cv import model_spec
from shared.models import measured
from shared.models.machine import describe
from shared.models.measured import Rate, StoredModel
from shared.runtime.errors import SettingError
from tidegate.models import store
from tidegate.models.store import Chosen


def stored(name: str, spec: str) -> StoredModel:
    paths = model_spec.paths(spec)
    rate = Rate(segments_s=5.314, segment_s=1.0, cores=1.2, busy=0.95, decode_s=0.04)
    return StoredModel(
        name=name,
        spec=spec,
        settings={"CV_MODEL": spec, "CV_BATCH_SIZE": "4"},
        files=[str(path) for path in paths],
        fingerprint=measured.fingerprint(paths),
        service_rate=5.31,
        rate=rate,
        fps=5.0,
        cameras=3,
        load=0.7,
        latency_target_s=2.0,
        footage="drawn",
        added=dt.datetime(2026, 11, 28, tzinfo=dt.UTC),
        machine=describe(),
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "yard.xml"
    path.write_text("<net/>")
    path.with_suffix(".bin").write_bytes(bytes(10))
    return path


def test_a_model_is_read_as_it_was_stored_and_is_private(tmp_path: Path, file: Path) -> None:
    model = stored("yard", str(file))
    path = measured.save(store.folder(tmp_path), model)
    assert measured.find(store.folder(tmp_path), "yard") == model and measured.stored(store.folder(tmp_path)) == [model]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_active_model_is_chosen_unless_the_environment_names_another(tmp_path: Path, file: Path) -> None:
    assert store.chosen(tmp_path, {}) == Chosen({})
    measured.save(store.folder(tmp_path), stored("yard", str(file)))
    measured.use(store.folder(tmp_path), "yard")
    chosen = store.chosen(tmp_path, {"CV_BATCH_SIZE": "2"})
    assert chosen.settings == {"CV_MODEL": str(file)}
    assert "use --default" in chosen.sentence and not chosen.warning
    own = store.chosen(tmp_path, {"CV_MODEL": "/other.onnx"})
    assert own.settings == {} and "yard is not used" in own.sentence
    measured.use(store.folder(tmp_path), None)
    assert store.chosen(tmp_path, {}) == Chosen({})


def test_models_of_cameras_are_found_by_their_names(tmp_path: Path, file: Path) -> None:
    folder = store.folder(tmp_path)
    measured.save(folder, stored("yard", str(file)))
    assert store.chosen(tmp_path, {"CV_MODELS": "plates=/p.onnx"}) == Chosen({})
    chosen = store.chosen(tmp_path, {"CV_MODELS": "plates=/p.onnx, yard", "CV_MODEL": "hf:x"})
    assert chosen.settings == {"CV_MODELS": f"plates=/p.onnx, yard={file}"} and not chosen.warning
    with pytest.raises(
        SettingError, match="CV_MODELS: no model is called gate: there are yard; or give <name>=<model>"
    ):
        store.chosen(tmp_path, {"CV_MODELS": "yard,gate"})
    with pytest.raises(SettingError, match="twice"):
        store.chosen(tmp_path, {"CV_MODELS": "yard,yard"})
    measured.use(folder, "yard")
    file.write_text("other")
    chosen = store.chosen(tmp_path, {"CV_MODELS": "yard"})
    assert chosen.settings["CV_MODELS"] == f"yard={file}" and chosen.settings["CV_MODEL"] == str(file)
    assert "has changed since it was measured as yard" in chosen.warning


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_a_changed_file_is_a_warning_with_the_remedy(tmp_path: Path, file: Path, suffix: str) -> None:
    measured.save(store.folder(tmp_path), stored("yard", str(file)))
    measured.use(store.folder(tmp_path), "yard")
    file.with_suffix(suffix).write_bytes(b"other")
    assert f"'tidegate model add {file} --name yard'" in store.chosen(tmp_path, {}).warning


def test_a_missing_file_is_an_error_with_the_remedy(tmp_path: Path, file: Path) -> None:
    measured.save(store.folder(tmp_path), stored("yard", str(file)))
    measured.use(store.folder(tmp_path), "yard")
    file.unlink()
    with pytest.raises(SettingError, match=r"is missing: put it back.*use --default"):
        store.chosen(tmp_path, {})
    assert store.chosen(tmp_path, {"CV_MODEL": "/other.onnx"}).settings == {}


def test_a_wrong_name_or_a_damaged_file_is_an_error(tmp_path: Path, file: Path) -> None:
    with pytest.raises(SettingError, match="there is none yet"):
        measured.use(store.folder(tmp_path), "yard")
    measured.save(store.folder(tmp_path), stored("yard", str(file)))
    with pytest.raises(SettingError, match="there are yard"):
        measured.find(store.folder(tmp_path), "gate")
    with pytest.raises(SettingError, match="can't be used"):
        measured.find(store.folder(tmp_path), "../yard")
    measured.use(store.folder(tmp_path), "yard")
    (store.folder(tmp_path) / "yard.json").write_text("{")
    with pytest.raises(SettingError, match="use --default"):
        measured.active(store.folder(tmp_path))


def test_a_model_by_name_has_no_fingerprint() -> None:
    assert measured.fingerprint(model_spec.paths("openvino:ssd_mobilenet_v2_coco")) == ""


def test_links_pipes_and_large_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "link").symlink_to("secret")
    os.mkfifo(tmp_path / "pipe")
    assert measured.read(tmp_path / "secret", 7) == b"hunter2"
    for name, most in (("secret", 6), ("link", 100), ("pipe", 100), (".", 100)):
        with pytest.raises(OSError):
            measured.read(tmp_path / name, most)


def test_a_model_of_another_name_is_an_error(tmp_path: Path, file: Path) -> None:
    folder = store.folder(tmp_path)
    measured.save(folder, stored("yard", str(file))).rename(folder / "gate.json")
    with pytest.raises(SettingError, match="is of the model yard"):
        measured.find(folder, "gate")

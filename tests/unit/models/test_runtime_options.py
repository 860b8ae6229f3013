"""Devices by their names, the options of each runtime for them, and the folders of what they compile. Pure."""

from __future__ import annotations

import fcntl
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.models import devices
from shared.models.devices import Device
from shared.models.runtimes import cache, choice, providers
from shared.models.runtimes.openvino import config
from shared.runtime.errors import ModelError
from tests.support.examples import examples

KINDS_WITH_NUMBERS = [kind for kind in devices.KINDS if kind not in ("cpu", "intel-npu")]
PARTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(max_examples=examples(100))
@given(st.sampled_from(KINDS_WITH_NUMBERS), st.integers(0, 20))
def test_a_device_is_read_from_its_own_name(kind: str, number: int) -> None:
    device = Device(kind, number)
    assert devices.parse(str(device)) == devices.parse(f"{kind}:{number}") == device
    # A process that sees one GPU takes its first.
    assert devices.first_visible(f"{kind}:{number}") == (f"{kind}:{number}" if kind == "intel-gpu" else kind)


@pytest.mark.parametrize("name", ["", "gpu", "cpu:1", "cuda:", "cuda:x", "intel-npu:0", "CUDA", "cuda:0\n"])
def test_another_name_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(ModelError, match="take cpu, cuda, tensorrt, rocm, intel-gpu, intel-npu"):
        devices.parse(name)


def test_each_kind_has_a_runtime() -> None:
    assert [choice.choose(Device(kind), "") for kind in devices.KINDS] == [
        "openvino",
        "onnxruntime",
        "onnxruntime",
        "onnxruntime",
        "openvino",
        "openvino",
    ]
    assert choice.choose(Device("cpu"), "onnxruntime") == "onnxruntime"


def test_cuda_searches_no_algorithms_on_the_way_of_a_segment() -> None:
    (name, options), (behind, _) = providers.of(Device("cuda", 2))
    assert (name, behind) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options == {"device_id": "2", "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "1"}
    assert providers.of(Device("cuda"), precision="f32")[0][1]["use_tf32"] == "0"


def test_one_engine_of_tensorrt_serves_all_batches() -> None:
    chosen = providers.of(Device("tensorrt", 1), precision="f16", folder=Path("/e"), shape=(8, 64, 96, 3))
    assert [name for name, _ in chosen] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert chosen[0][1] == {
        "device_id": "1",
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/e",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "/e",
        "trt_profile_min_shapes": "tidegate_image:1x64x96x3",
        "trt_profile_opt_shapes": "tidegate_image:8x64x96x3",
        "trt_profile_max_shapes": "tidegate_image:8x64x96x3",
    }
    fixed = providers.of(Device("tensorrt"), folder=Path("/e"))[0][1]
    assert fixed["trt_fp16_enable"] == "0" and not any("profile" in name for name in fixed)


def test_migraphx_stores_its_programs() -> None:
    (name, options), _ = providers.of(Device("rocm"), precision="f16", folder=Path("/e"))
    assert name == "MIGraphXExecutionProvider"
    assert options == {"device_id": "0", "migraphx_fp16_enable": "1", "migraphx_model_cache_dir": "/e"}


def test_openvino_has_a_stream_for_each_thread_of_a_cpu_alone() -> None:
    on_cpu = config(devices.CPU, 3, "bf16", "")
    assert on_cpu == {
        "INFERENCE_NUM_THREADS": 3,
        "NUM_STREAMS": 3,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "bf16",
    }
    assert config(Device("intel-gpu"), 3, "", "/e") == {"PERFORMANCE_HINT": "THROUGHPUT", "CACHE_DIR": "/e"}
    assert config(Device("intel-npu"), 3, "f16", "/e")["INFERENCE_PRECISION_HINT"] == "f16"
    assert (choice.openvino_name(Device("intel-gpu")), choice.openvino_name(Device("intel-gpu", 1))) == ("GPU", "GPU.1")


@settings(max_examples=examples(200))
@given(st.binary(max_size=8), st.lists(PARTS, min_size=1, max_size=4), st.integers(0, 3), PARTS)
def test_a_folder_is_of_one_file_and_all_that_its_engine_depends_on(
    content: bytes, parts: list[str], at: int, other: str
) -> None:
    name = cache.key(content, *parts)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name) and not name.startswith("..") and "/" not in name
    changed = [other if n == at % len(parts) else part for n, part in enumerate(parts)]
    assert (cache.key(content, *changed) == name) == (changed == parts)
    assert cache.key(content + b"x", *parts) != name


def test_one_process_compiles_and_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))
    folder = cache.folder("engine")
    with cache.locked(folder), (folder / ".lock").open("a") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (folder / ".lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with cache.locked(None):
        pass


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="set TIDEGATE_CACHE to a folder that can"):
        cache.folder("engine")

"""`make gpu` without a GPU: its arithmetic, its components through kustomize, and all of it on the CPU."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.gpu import machine, measuring, overlay, plan
from bench.gpu.plan import Numbers, Sample
from bench.gpu.report import Report
from services.cv.settings import CvSettings
from services.scaler.demand.parameters import LAG_SHARE
from shared.contract.topology import TopologySettings
from tests.support.kube import deploy_checks, deploy_manifests
from tests.support.kube.deploy_manifests import OVERLAYS, Document, container_of, of, variables
from tests.support.paths import ROOT
from tidegate.commands.threshold import threshold
from tidegate.demo import full_hd
from tidegate.keda.threshold import lag_threshold
from tidegate.models import capacity

RATES = st.floats(0.01, 1e5)
TABLES = st.dictionaries(st.integers(1, 1024), RATES, min_size=1, max_size=8)


# ---- arithmetic


@given(RATES)
def test_a_rate_is_written_down_to_three_digits(rate: float) -> None:
    text = capacity.rounded(rate)
    assert "e" not in text
    assert rate * 0.99 <= float(text) <= rate * (1 + 1e-9)
    assert capacity.rounded(float(text)) == text


@given(RATES, st.floats(0.1, 10), st.floats(0.1, 1))
def test_cameras_are_a_whole_number_within_their_share_of_the_rate(rate: float, seconds: float, load: float) -> None:
    found = capacity.cameras(rate, seconds, load)
    assert found / seconds <= load * rate + 1e-6 < (found + 1) / seconds + 2e-6
    assert found <= capacity.cameras(rate, seconds)


@given(TABLES)
def test_the_smallest_setting_near_the_best_rate_is_chosen(rates: dict[int, float]) -> None:
    chosen = capacity.fewest(rates)
    assert rates[chosen] >= capacity.NEAR * max(rates.values())
    assert all(rates[key] < capacity.NEAR * max(rates.values()) for key in rates if key < chosen)


@given(TABLES, RATES)
def test_threads_do_not_exceed_the_need_of_the_model(rates: dict[int, float], wanted: float) -> None:
    chosen = capacity.choose_threads(rates, wanted)
    enough = [threads for threads, rate in rates.items() if rate >= capacity.AHEAD * wanted]
    assert chosen == (min(enough) if enough else capacity.fewest(rates))


@given(TABLES, RATES, st.floats(0.1, 30), st.integers(1, 64))
def test_a_batch_meets_the_latency_target_if_any_batch_does(
    rates: dict[int, float], segments_s: float, latency_s: float, threads: int
) -> None:
    def hold(size: int) -> int:
        return CvSettings(cv_batch_size=size, cv_threads=threads).worker().hold

    def fits(size: int) -> bool:
        return capacity.in_time(hold(size), segments_s, latency_s)

    chosen = capacity.choose_batch(rates, fits)
    in_time = {size for size in rates if fits(size)}
    assert chosen in (in_time or {min(rates)})
    for size in in_time:
        assert not lag_threshold(segments_s, latency_s, max_in_flight=hold(size)).is_bounded_by_in_flight
        assert rates[chosen] >= capacity.NEAR * rates[size]


STEPS = st.lists(
    st.tuples(st.floats(0.1, 5), st.integers(0, 50), st.floats(0, 5), st.floats(0, 1)), min_size=2, max_size=20
)


@given(STEPS, st.integers(0, 30))
def test_a_rate_is_measured_between_two_instants_of_the_run(
    steps: list[tuple[float, int, float, float]], hold: int
) -> None:
    samples = [Sample(at_s=0, done=0, images=0, cpu_s=0, busy_s=0, memory_mb=1)]
    for seconds, done, cpu, busy in steps:
        s = samples[-1]
        samples.append(
            Sample(
                at_s=s.at_s + seconds,
                done=s.done + done,
                images=s.images + 5 * done,
                cpu_s=s.cpu_s + cpu,
                busy_s=s.busy_s + busy * seconds,
                memory_mb=1,
            )
        )
    count = samples[-1].done
    assume(len({s.done for s in samples if s.done}) > 1)
    part = plan.steady(samples, count, hold)
    assert part is not None
    assert part.segments_s > 0 and 0 <= part.busy <= 1 and part.cores >= 0
    assert part.images_s == pytest.approx(5 * part.segments_s)
    # It is between the slowest and the fastest step.
    speeds = [(b.done - a.done) / (b.at_s - a.at_s) for a, b in itertools.pairwise(samples)]
    assert min(speeds) - 1e-6 <= part.segments_s <= max(speeds) + 1e-6
    inside = [s for s in samples if plan.START * count <= s.done <= count - hold and s.done]
    if len({s.done for s in inside}) > 1:
        assert part.first in inside and part.last in inside


def bounded(**changes: Any) -> plan.Bound:
    keeps_up = {"busy": 0.5, "cores": 2.0, "of_cores": 16, "utilisation": 0.4, "copy_share": 0.1}
    return plan.bound(**{**keeps_up, "decoding_s": 900.0, "segments_s": 300.0, **changes})


def test_a_saturated_resource_is_the_bottleneck() -> None:
    assert bounded(busy=0.97, utilisation=0.95) == bounded(busy=0.97, utilisation=None) == "gpu"
    assert bounded(busy=0.97, copy_share=0.6) == "copy"
    assert bounded(busy=0.97, utilisation=0.3) == "device thread"
    assert bounded(cores=15.0) == "cores"
    assert bounded(decoding_s=310.0) == "decoding"
    assert bounded() == "process"


@given(RATES, st.floats(0, 64), st.integers(1, 256), st.integers(1, 64), st.floats(0.5, 60), st.integers(1, 1000))
def test_the_numbers_are_consistent(
    rate: float, cores: float, batch: int, threads: int, latency_s: float, replicas: int
) -> None:
    hold = CvSettings(cv_batch_size=batch, cv_threads=threads).worker().hold
    n = plan.numbers(
        "cv",
        rate=rate,
        cores=cores,
        batch=batch,
        threads=threads,
        hold=hold,
        latency_s=latency_s,
        replicas=replicas,
    )
    # The value of `tidegate threshold` for the rate in the annotation.
    assert n.threshold == lag_threshold(float(n.rate), latency_s, max_in_flight=hold)
    assert n.threshold.value <= max(float(n.rate) * latency_s * LAG_SHARE, hold + 1)
    assert n.cpu >= max(cores, threads)
    assert replicas * hold <= n.max_ack_pending >= TopologySettings().max_ack_pending


# ---- into an overlay


def example(replicas: int = 8) -> list[Numbers]:
    more: dict[str, Any] = {"latency_s": 3.0, "cold_start_s": 90.0, "replicas": replicas}
    return [
        plan.numbers("cv", rate=211.7, cores=17.2, batch=32, threads=16, hold=32, **more),
        plan.numbers("embed", rate=402.9, cores=7.1, batch=64, threads=8, hold=136, **more),
    ]


def text(numbers: list[Numbers], *, demand: bool) -> str:
    about = "Measured by `make gpu` on 2026-11-24: a GPU: of a test."
    most = TopologySettings().max_ack_pending
    return overlay.component(numbers, demand=demand, about=about, overlay="h100", default_ack_pending=most)


def as_component(folder: Path, form: str, content: str) -> list[Document]:
    (folder / "gpu").mkdir()
    (folder / "gpu" / "kustomization.yaml").write_text(content)
    (folder / "own").mkdir()
    own = {"resources": [os.path.relpath(OVERLAYS / form, (folder / "own").resolve())], "components": ["../gpu"]}
    (folder / "own" / "kustomization.yaml").write_text(yaml.safe_dump(own))
    return deploy_manifests.build(folder / "own")


def copied(folder: Path, form: str, content: str) -> list[Document]:
    """The patches at the end of the overlay."""
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    path = folder / "deploy/kubernetes/overlays" / form / "kustomization.yaml"
    path.write_text(path.read_text() + content[content.index("patches:\n") :])
    return deploy_manifests.build(path.parent)


@pytest.mark.foreign
@pytest.mark.parametrize("way", [as_component, copied])
@pytest.mark.parametrize("form", ["h100", "h100/demand", "l40s", "rtx-pro-6000/demand"])
def test_the_numbers_go_into_an_overlay(form: str, way: Any, tmp_path: Path) -> None:
    numbers = example()
    docs = way(tmp_path, form, text(numbers, demand=form.endswith("demand")))
    (tmp_path / "password").write_text("p")
    scaled, deployments = of(docs, "ScaledObject"), of(docs, "Deployment")
    for n in numbers:
        one = scaled[f"tidegate-{n.service}"]
        assert one["metadata"]["annotations"][deploy_manifests.RATE] == n.rate
        values = [t["metadata"].get("lagThreshold") for t in one["spec"]["triggers"]]
        demand = [deploy_manifests.query_of(t) for t in one["spec"]["triggers"] if t["type"] == "metrics-api"]
        if demand:
            net = [str(n.threshold.fallback), str(n.threshold.deferred)]
            assert demand[0]["lagThreshold"] == str(n.threshold.value) and values == [None, *net]
        else:
            assert values == [str(n.threshold.value)]
        deploy_checks.check_thresholds(one)
        deploy_checks.check_triggers(one, docs)
        worker = deployments[f"tidegate-{n.service}"]
        given = variables(worker, tmp_path / "password")
        prefix = n.service.upper()
        assert (given[f"{prefix}_BATCH_SIZE"], given[f"{prefix}_THREADS"]) == (str(n.batch), str(n.threads))
        requests = container_of(worker)["resources"]["requests"]
        assert requests["cpu"] == str(n.cpu) and requests[deploy_manifests.GPU] == "1" and "memory" in requests
    deploy_checks.check_placeholder(docs)
    deploy_checks.check_builtin_kinds(docs)
    for job in of(docs, "Job").values():
        assert "MAX_ACK_PENDING" not in {e["name"] for e in container_of(job)["env"]}


@pytest.mark.foreign
def test_setup_gets_the_in_flight_limit_if_it_exceeds_the_default(tmp_path: Path) -> None:
    numbers = example(replicas=60)
    docs = as_component(tmp_path, "h100", text(numbers, demand=False))
    (job,) = of(docs, "Job").values()
    (given,) = (e["value"] for e in container_of(job)["env"] if e["name"] == "MAX_ACK_PENDING")
    assert int(given) == numbers[1].max_ack_pending >= 60 * 136


def test_the_command_that_a_patch_names_prints_its_threshold() -> None:
    from click.testing import CliRunner

    for n in example():
        output = CliRunner().invoke(threshold, overlay.command(n).split()[2:], catch_exceptions=False).output
        assert f'lagThreshold: "{n.threshold.value}"' in output and f'lagThreshold: "{n.threshold.fallback}"' in output


def test_the_overlay_is_found_by_the_gpu_s_name() -> None:
    for name, form in deploy_manifests.PRODUCTS.items():
        assert measuring.overlay_of(form) == measuring.overlay_of(form.replace("-", " ")) == name
    assert measuring.overlay_of("NVIDIA A10") is None


# ---- the command


def gpu(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.gpu", *arguments]
    env = os.environ | environment
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500, check=False)


def test_without_a_gpu_one_sentence_names_what_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("open_clip", reason="torch is an extra: pip install 'tidegate[cv-torch,embed-torch]'")
    done = gpu("--out", str(tmp_path), CUDA_VISIBLE_DEVICES="", PATH=os.defpath)
    assert done.returncode == 2 and not done.stdout and not list(tmp_path.iterdir())
    (sentence,) = done.stderr.splitlines()
    for looked_for in ("nvidia-smi", "torch.cuda.is_available() is False", "built for", "DEVICE=cpu"):
        assert looked_for in sentence


def test_a_driver_that_sees_no_gpu_is_quoted(tmp_path: Path) -> None:
    pytest.importorskip("open_clip", reason="torch is an extra: pip install 'tidegate[cv-torch,embed-torch]'")
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because of this'\nexit 9\n")
    smi.chmod(0o755)
    done = gpu(CUDA_VISIBLE_DEVICES="", PATH=f"{tmp_path}:{os.defpath}")
    assert done.returncode == 2 and "sees none (NVIDIA-SMI has failed because of this)" in done.stderr


def test_a_gpu_is_monitored_by_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script stands for nvidia-smi, which says `[N/A]` of what a GPU or a virtual machine hides."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho \"$@\" >> $0.asked; echo '80, 1234, [N/A]'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    with machine.GpuMonitor("cuda") as watch:
        while watch.polls < 2:
            time.sleep(0.05)
    assert watch.load() == machine.Load(utilisation=0.8, memory_mb=1234, watts=None)
    assert watch.load(watch.polls) == machine.Load()
    assert all(line.endswith("-i 3") for line in (tmp_path / "nvidia-smi.asked").read_text().splitlines())
    with machine.GpuMonitor("cpu") as nothing:
        pass
    assert nothing.load() == machine.Load()


@pytest.mark.slow
def test_a_missing_model_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("open_clip", reason="torch is an extra: pip install 'tidegate[cv-torch,embed-torch]'")
    done = gpu("--device", "cpu", "--cv-model", f"hf:{tmp_path}", "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "can't be loaded" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.long
def test_all_of_it_on_the_cpu(tmp_path: Path) -> None:
    """Real segments through the real services on a real server; the report marks figures of the CPU as such."""
    pytest.importorskip("open_clip", reason="torch is an extra: pip install 'tidegate[cv-torch,embed-torch]'")
    models = ["--cv-model", "torchvision:ssdlite320_mobilenet_v3_large@random", "--overlay", "h100"]
    models += ["--embed-model", "openvino:efficientnet_lite3", "--embed-pretrained", "", "--batches", "1,4"]
    done = gpu("--device", "cpu", "--seconds", "2", "--out", str(tmp_path), *models)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "figures of a CPU" in done.stdout and "Untrained weights" in done.stdout
    found = msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=Report)
    assert found.machine.device == "cpu" and found.machine.gpu is None and found.machine.torch
    assert found.nvdec.not_measured and found.segment_s == 1.0
    for served in found.services:
        run, n = served.run, served.numbers
        assert run.segments_s > 0 and run.cores > 0 and run.first_s > 0 and not run.failed
        assert run.delay and 0 < run.delay.p50_s <= run.delay.p95_s
        assert float(n.rate) == pytest.approx(run.segments_s, rel=0.01)
        assert served.cameras_planned <= served.cameras <= run.segments_s + 1e-6
        assert n.batch in (1, 4) and n.threads in [row.threads for row in served.decoding]
        assert f"segments-per-second {n.rate}, lagThreshold {n.threshold.value}" in " ".join(done.stdout.split())
    for folder in ("", "demand"):
        component = yaml.safe_load((tmp_path / folder / "kustomization.yaml").read_text())
        assert component["kind"] == "Component" and len(component["patches"]) == 5


@pytest.mark.slow
def test_the_footage_has_as_many_objects_as_the_untrained_detector_reports() -> None:
    from bench.gpu import stages
    from services.cv.detectors import load
    from services.cv.service import SCORE_FLOOR

    pieces = full_hd.segments()
    assert {(p.segment.width, p.segment.height, p.segment.frames) for p in pieces} == {(1920, 1080, 25)}
    assert all(p.segment.duration == pytest.approx(1, abs=0.05) and not p.dependent for p in pieces)
    detector = load("openvino:ssd_mobilenet_v2_coco", threads=2, min_score=SCORE_FLOOR)
    found = detector.detect(stages.pictures(pieces, detector.size, fps=5))
    assert sum(map(len, found)) / len(found) == pytest.approx(full_hd.OBJECTS, rel=0.2)

"""`make gpu`: the tests marked `gpu`, stages, replicas with a backlog; a report, and components for an overlay.

    python -m bench.gpu [--device cuda|cpu] [--seconds 20] [--latency 2] [--cv-model hf:/weights] ...

Exit codes: 0; 1 if a test or a service failed; 2 if there is no GPU, or no such model.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.gpu import machine

ROOT = Path(__file__).parent.parent.parent
# Decoders first: libav takes no CUDA context that torch has set up.
TESTS = ("tests/integration/cv/test_decoding_device.py", "tests/integration/cv/test_on_gpu.py")
# Detectors of the other GPU backend: one with a fixed picture size, one that takes whole frames.
OTHERS = "torchvision:ssdlite320_mobilenet_v3_large@random,torchvision:fasterrcnn_resnet50_fpn_v2@random"


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description="How many cameras this machine's GPU carries."
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:<n> or cpu")
    parser.add_argument("--out", default="dist/gpu", help="folder for the report and the components")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="seconds of each replica's run; a stage has a tenth"
    )
    parser.add_argument(
        "--latency",
        dest="latency_s",
        type=float,
        default=2.0,
        help="target in seconds from a segment's arrival to its event",
    )
    parser.add_argument("--cold-start", dest="cold_start_s", type=float, default=60.0, help="seconds until a pod works")
    parser.add_argument("--replicas", type=int, default=8, help="maxReplicaCount")
    parser.add_argument("--overlay", default="", help="overlay to build on; by default of the GPU's name")
    parser.add_argument("--cv-model", default="", help="CV_MODEL with its weights; untrained by default")
    parser.add_argument("--embed-model", default="ViT-B-32", help="EMBED_MODEL")
    parser.add_argument("--embed-pretrained", default="random", help="EMBED_PRETRAINED; random is untrained")
    parser.add_argument("--batches", default="", help="batch sizes to try, separated by commas")
    parser.add_argument("--others", default=None, help="further detectors to measure, separated by commas")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = vars(parser().parse_args(arguments))
    on_cpu = options["device"] == "cpu"
    if reason := machine.not_installed() or (None if on_cpu else machine.missing()):
        print(f"make gpu: {reason}{'' if on_cpu else '; DEVICE=cpu measures the same on the CPU'}.", file=sys.stderr)
        return 2
    if options["others"] is None:
        options["others"] = "" if on_cpu else OTHERS
    for name in ("batches", "others"):
        options[name] = [part for part in options[name].split(",") if part]
    return measure_and_report(options, None if on_cpu else run_gpu_tests())


def measure_and_report(options: dict[str, object], tests: str | None) -> int:
    # main() reports missing packages before this imports them.
    import msgspec
    from rich.console import Console

    from bench.gpu import measuring, report
    from shared.runtime.errors import ModelError, TidegateError

    try:
        request = msgspec.convert(options, measuring.Request, strict=False)
        found = measuring.measure(request, tests, lambda text: print(f"... {text}", file=sys.stderr, flush=True))
    except (msgspec.ValidationError, ModelError) as e:
        print(f"make gpu: {e}", file=sys.stderr)
        return 2
    except TidegateError as e:
        print(f"make gpu: {e}", file=sys.stderr)
        return 1
    written = measuring.write(found, request)
    report.show(found, Console(width=130))
    print(f"written: {', '.join(map(str, written))}")
    return int(tests is not None and tests.startswith("failed"))


def run_gpu_tests() -> str:
    """Run the tests marked `gpu`. Return pytest's last line; `failed: ...` if one failed."""
    if importlib.util.find_spec("pytest") is None:
        return "not run, as pytest is not installed"
    print(f"... {' '.join(TESTS)}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pytest", "-m", "gpu", *TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if not done.returncode:
        return lines[-1]
    print(done.stdout + done.stderr, file=sys.stderr)
    return f"failed: {lines[-1] if lines else f'code {done.returncode}'}"


if __name__ == "__main__":
    sys.exit(main())

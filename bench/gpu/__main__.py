"""`make gpu`: the tests marked `gpu`, stages, replicas with a backlog; a report, and what goes into an overlay.

    python -m bench.gpu [--device cuda|cpu] [--seconds 20] [--latency 2] [--cv-model hf:/weights] ...

Exit codes: 0; 1, where a test or a service failed; 2, where there is no GPU, or no such model.
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
TESTS = "tests/test_on_gpu.py"
# Detectors of the other backend that runs on a GPU: one that has pictures of its own size, one that takes whole frames.
OTHERS = "torchvision:ssdlite320_mobilenet_v3_large@random,torchvision:fasterrcnn_resnet50_fpn_v2@random"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m bench.gpu", description="How many cameras this machine's GPU carries."
    )
    made.add_argument("--device", default="cuda", help="cuda, cuda:<n> or cpu")
    made.add_argument("--out", default="dist/gpu", help="folder for the report and the components")
    made.add_argument("--seconds", type=float, default=20.0, help="of each replica's run; each stage has a tenth")
    made.add_argument(
        "--latency", dest="latency_s", type=float, default=2.0, help="from a segment's arrival to its event"
    )
    made.add_argument("--cold-start", dest="cold_start_s", type=float, default=60.0, help="seconds until a pod works")
    made.add_argument("--replicas", type=int, default=8, help="maxReplicaCount")
    made.add_argument("--overlay", default="", help="the one to build on; by the GPU's name where not given")
    made.add_argument("--cv-model", default="", help="CV_MODEL with its weights; untrained ones where not given")
    made.add_argument("--embed-model", default="ViT-B-32", help="EMBED_MODEL")
    made.add_argument("--embed-pretrained", default="random", help="EMBED_PRETRAINED; random is untrained")
    made.add_argument("--batches", default="", help="batch sizes to try, with commas between them")
    made.add_argument("--others", default=None, help="detectors to measure besides, with commas between them")
    return made


def main(given: Sequence[str] | None = None) -> int:
    options = vars(parser().parse_args(given))
    on_cpu = options["device"] == "cpu"
    if reason := machine.not_installed() or (None if on_cpu else machine.missing()):
        print(f"make gpu: {reason}{'' if on_cpu else '; DEVICE=cpu measures the same on the CPU'}.", file=sys.stderr)
        return 2
    if options["others"] is None:
        options["others"] = "" if on_cpu else OTHERS
    for name in ("batches", "others"):
        options[name] = [part for part in options[name].split(",") if part]
    return measured(options, None if on_cpu else tested())


def measured(options: dict[str, object], tests: str | None) -> int:
    # What is not installed is said above, before it is imported.
    import msgspec
    from rich.console import Console

    from bench.gpu import measuring, report
    from shared.runtime.errors import ModelError, TidegateError

    try:
        asked = msgspec.convert(options, measuring.Asked, strict=False)
        found = measuring.measure(asked, tests, lambda text: print(f"... {text}", file=sys.stderr, flush=True))
    except (msgspec.ValidationError, ModelError) as e:
        print(f"make gpu: {e}", file=sys.stderr)
        return 2
    except TidegateError as e:
        print(f"make gpu: {e}", file=sys.stderr)
        return 1
    written = measuring.write(found, asked)
    report.show(found, Console(width=130))
    print(f"written: {', '.join(map(str, written))}")
    return int(tests is not None and tests.startswith("failed"))


def tested() -> str:
    """What came of the tests marked `gpu`, by pytest's last line; `failed: ...` where one did."""
    if importlib.util.find_spec("pytest") is None:
        return "not run, as pytest is not installed"
    print(f"... {TESTS}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pytest", "-m", "gpu", TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if not done.returncode:
        return lines[-1]
    print(done.stdout + done.stderr, file=sys.stderr)
    return f"failed: {lines[-1] if lines else f'code {done.returncode}'}"


if __name__ == "__main__":
    sys.exit(main())

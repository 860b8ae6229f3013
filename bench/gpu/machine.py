"""The description of this machine: its GPU, driver, torch and CPU; and the missing parts without a GPU."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import threading
from importlib import metadata
from types import TracebackType

import msgspec

from shared.models import machine as host

SMI = "nvidia-smi"
NEEDED = ("av", "nats", "open_clip", "torch", "torchvision", "transformers")
PACKAGES = ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "open-clip-torch", "torchvision", "transformers")
_FIELDS = ("name", "driver_version", "memory.total", "pcie.link.gen.max", "pcie.link.width.max", "mig.mode.current")
_SAMPLED = ("utilization.gpu", "memory.used", "power.draw")
_EVERY_S = 0.5


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU by nvidia-smi, with "" for unknown texts. memory_mb: in total."""

    name: str = ""
    driver: str = ""
    memory_mb: float | None = None
    pcie_generation: str = ""
    pcie_lanes: str = ""
    mig: str = ""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """This machine. device: `cuda` or `cpu`. cuda, cudnn: the versions in torch, "" for the CPU."""

    device: str
    gpu: Gpu | None
    host: host.Machine
    torch: str
    cuda: str
    cudnn: str
    packages: dict[str, str]

    @property
    def label(self) -> str:
        """The GPU's name, or the CPU's, for a title."""
        return (self.gpu.name or "an unnamed GPU") if self.gpu else f"the CPU, {self.host.cpu}"


def not_installed() -> str | None:
    """Return which packages are missing and how to install them; None if all are there."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    return (
        f"{', '.join(absent)} can't be imported: pip install 'tidegate[cv-torch,embed-torch,demo]'; if no registry "
        "can be reached, from local wheels (docs/how-to/scale.md)"
    )


def missing() -> str | None:
    """Return a sentence on why no GPU can be used; None if torch can use one."""
    if reason := not_installed():
        return reason
    import torch

    from shared.models.torch import why_no_gpu

    reason = why_no_gpu()
    if not reason:
        return None
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU alone"
    return (
        f"no NVIDIA GPU can be used here: {_driver_report()}; torch.cuda.is_available() is "
        f"{torch.cuda.is_available()}, and torch, which is {built}, says why ({reason})"
    )


def _driver_report() -> str:
    if not shutil.which(SMI):
        return f"{SMI} is not in PATH, so that no driver is installed, or none is given to this container"
    done = subprocess.run([SMI, "-L"], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    if done.returncode or not lines:
        return f"{SMI} sees none ({' '.join((done.stdout + done.stderr).split())[:200]})"
    return f"{SMI} sees {len(lines)}, {lines[0].partition(' (')[0]}"


def describe(device: str) -> Machine:
    import torch

    on_gpu = device != "cpu"
    cudnn = torch.backends.cudnn.version() if on_gpu else None
    return Machine(
        device=device,
        gpu=_gpu(torch.cuda.get_device_name(device)) if on_gpu else None,
        host=host.describe(),
        torch=str(torch.__version__),
        cuda=torch.version.cuda or "",
        cudnn=str(cudnn or ""),
        packages={name: metadata.version(name) for name in PACKAGES if _is_installed(name)},
    )


def _is_installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def _gpu(name: str) -> Gpu:
    """Return the GPU by nvidia-smi; without nvidia-smi, only torch's name."""
    if not shutil.which(SMI):
        return Gpu(name=name)
    output = subprocess.run(_query("gpu", _FIELDS), capture_output=True, text=True, check=False).stdout
    values = dict(zip(_FIELDS, (value.strip() for value in output.partition("\n")[0].split(",")), strict=False))
    return Gpu(
        name=values.get("name") or name,
        driver=values.get("driver_version", ""),
        memory_mb=number(values.get("memory.total", "")),
        pcie_generation=values.get("pcie.link.gen.max", ""),
        pcie_lanes=values.get("pcie.link.width.max", ""),
        mig=values.get("mig.mode.current", ""),
    )


def _query(what: str, fields: tuple[str, ...]) -> list[str]:
    """Return the command for the GPU that is torch's cuda:0."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
    return [SMI, f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits", "-i", first]


def number(text: str) -> float | None:
    """Return the number that nvidia-smi printed; None for `[N/A]` and the like."""
    try:
        return float(text)
    except ValueError:
        return None


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Means and maxima over a time, by nvidia-smi; None if unknown.

    utilisation: share of the time in which a kernel ran. memory_mb: maximum over all processes. watts: the mean.
    """

    utilisation: float | None = None
    memory_mb: float | None = None
    watts: float | None = None


class GpuMonitor:
    """Polls the GPU twice a second during the block; `load` returns the result.

    Without nvidia-smi, and on a CPU, the result is empty.
    """

    def __init__(self, device: str) -> None:
        self._samples: list[tuple[float | None, ...]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._is_there = device != "cpu" and shutil.which(SMI) is not None

    def __enter__(self) -> GpuMonitor:
        if self._is_there:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._is_there:
            self._thread.join()

    def _poll(self) -> None:
        while not self._over.wait(_EVERY_S):
            output = subprocess.run(_query("gpu", _SAMPLED), capture_output=True, text=True, check=False).stdout
            values = tuple(number(value.strip()) for value in output.partition("\n")[0].split(","))
            if len(values) == len(_SAMPLED):
                self._samples.append(values)

    @property
    def polls(self) -> int:
        """The number of polls so far."""
        return len(self._samples)

    def load(self, first: int = 0, last: int | None = None) -> Load:
        """Return the load over the polls from `first` to `last`, exclusive."""
        rows = self._samples[first:last]
        busy, memory, watts = ([v for row in rows if (v := row[n]) is not None] for n in range(len(_SAMPLED)))
        return Load(
            utilisation=sum(busy) / len(busy) / 100 if busy else None,
            memory_mb=max(memory, default=None),
            watts=sum(watts) / len(watts) if watts else None,
        )

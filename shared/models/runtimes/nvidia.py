"""NVIDIA's GPUs as the driver names them, and the version of TensorRT. Needs neither torch nor nvidia-smi."""

from __future__ import annotations

import contextlib
import ctypes
import importlib

_DRIVER = "libcuda.so.1"
_MAJOR_VERSIONS = (11, 10)
_LONGEST_NAME = 256


def gpus() -> list[str]:
    """Return the names of the GPUs that this process sees, by their index; empty without a driver."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return []
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    names = []
    for index in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(_LONGEST_NAME)
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetName(name, _LONGEST_NAME, device)
        names.append(name.value.decode())
    return names


def tensorrt_version() -> str:
    """Return the number of the TensorRT that this process can load, such as 101300; empty without one."""
    # The wheel's libraries are on no search path until its module has loaded them.
    with contextlib.suppress(ImportError):
        importlib.import_module("tensorrt_libs")
    for major in _MAJOR_VERSIONS:
        try:
            return str(ctypes.CDLL(f"libnvinfer.so.{major}").getInferLibVersion())
        except OSError:
            continue
    return ""

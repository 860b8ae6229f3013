"""The numeric precision in which tests run a model."""

from __future__ import annotations

from collections.abc import Callable

import openvino as ov
import pytest


def reduced() -> str:
    """Return bf16 if this CPU offers it, else f32."""
    return "bf16" if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


@pytest.fixture
def compute_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make models that are loaded later compute in a precision, whatever this CPU prefers."""
    return lambda hint: monkeypatch.setattr("shared.models.runtimes.openvino.precision", lambda core: hint)


@pytest.fixture(params=["f32", "bf16"])
def either_precision(request: pytest.FixtureRequest, compute_in: Callable[[str], None]) -> None:
    """Each precision in turn. A CPU without bfloat16 computes in float32 when bf16 is requested."""
    compute_in(request.param)

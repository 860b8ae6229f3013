"""The numeric precision in which tests run a model."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def compute_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make models that are loaded later compute in a precision, whatever this CPU prefers."""
    return lambda hint: monkeypatch.setattr("shared.models.runtimes.openvino.precision", lambda core: hint)


@pytest.fixture(params=["f32", "bf16"])
def either_precision(request: pytest.FixtureRequest, compute_in: Callable[[str], None]) -> None:
    """Each precision in turn. A CPU without bfloat16 computes in float32 when bf16 is requested."""
    compute_in(request.param)

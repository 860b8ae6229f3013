"""A short form of `tidegate chaos`, with the real models."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from tidegate.demo.chaos import Plan, unleash


@pytest.mark.slow
@pytest.mark.parametrize("service", ["cv", pytest.param("embed", marks=pytest.mark.long)])
async def test_exactly_one_event_over_kills_and_a_restart(service: Literal["cv", "embed"], tmp_path: Path) -> None:
    plan = Plan(service=service, kills=3, terms=2, restarts=1, workers=2, pause_s=1.5)
    outcome = await unleash(plan, tmp_path, Console())
    assert outcome.is_exact, outcome
    assert (outcome.kills, outcome.terms, outcome.restarts) == (3, 2, 1)
    assert outcome.redelivered > 0, "no fault hit a worker that held a segment"

"""Footage for machines without the demo's clips: drawn, and segmented as a camera's."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.video.decode import decode
from tidegate.demo import full_hd
from tidegate.models.doubts import MOVES, moving


@pytest.mark.slow
def test_drawn_segments_are_full_hd_and_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path))
    found = full_hd.drawn()
    assert {(p.segment.width, p.segment.height, p.segment.frames) for p in found} == {(*full_hd.SIZE, full_hd.FPS)}
    images = [picture.pixels for p in found for picture in decode(p.payload, fps=5, size=(320, 180)).pictures]
    assert len(images) == 10 and moving(images) > MOVES

"""The demo's cameras: files as cameras send video, and the bank that serves them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from shared.runtime.errors import SettingError
from tidegate.demo import footage
from tidegate.demo.bank import Bank

# All tests read one set of footage, which takes seconds to make.
pytestmark = pytest.mark.xdist_group("footage")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return footage.embedded(tmp_path_factory.mktemp("footage"))


def packets(path: Path) -> list[tuple[float, bool]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [(float(p.pts * p.time_base), p.is_keyframe) for p in container.demux(stream) if p.size]


def encode(
    path: Path, *, codec: str = "libx264", frames: int = 50, size: tuple[int, int] = (64, 48), **options: str
) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for n in range(frames):
            pixels = np.full((size[1], size[0], 3), n * 5 % 256, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        out.mux(stream.encode(None))
    return path


@pytest.mark.slow
def test_every_scene_has_the_format_of_a_camera(scenes: list[Path]) -> None:
    assert [p.stem for p in scenes[:5]] == [s.name for s in footage.SCENES]
    for path in scenes:
        times = packets(path)
        keys = [t for t, is_key in times if is_key]
        assert keys == pytest.approx(range(len(keys)), abs=0.01), "a keyframe every second"
        assert times == sorted(times), "no B-frames"
        assert len(keys) == footage.FILE_S
        assert footage.is_serveable(path)
        assert path.stat().st_size < 4_000_000


@pytest.mark.slow
def test_scenes_and_their_mirrors_show_what_they_should(scenes: list[Path]) -> None:
    with av.open(str(scenes[0])) as a, av.open(str(scenes[5])) as b:
        plain = next(a.decode(video=0)).to_ndarray(format="rgb24").astype(int)
        mirrored = next(b.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert np.abs(plain - mirrored[:, ::-1]).mean() < 5
    assert np.abs(plain - mirrored).mean() > 20


@pytest.mark.slow
def test_a_loop_has_no_cut(scenes: list[Path]) -> None:
    """A cut would change more of the picture than the scene's fastest movement does."""
    for path, scene in zip(scenes, footage.SCENES, strict=False):
        with av.open(str(path)) as container:
            pictures = [f.to_ndarray(format="gray").astype(int) for f in container.decode(video=0)]
        steps = [np.abs(b - a).mean() for a, b in pairwise([*pictures, pictures[0]])]
        assert max(steps) < 1.5 * max(steps[: scene.last - scene.first - 1]), scene.name


@pytest.mark.slow
def test_existing_footage_is_not_made_again(scenes: list[Path]) -> None:
    before = [p.stat().st_mtime_ns for p in scenes]
    done: list[float] = []
    assert footage.embedded(scenes[0].parent, done.append) == scenes
    assert [p.stat().st_mtime_ns for p in scenes] == before
    assert done[-1] == 1.0


def test_interrupted_work_leaves_no_partial_file(tmp_path: Path) -> None:
    source = encode(tmp_path / "source.avi", codec="mpeg4", frames=200)

    def enough(done: float) -> None:
        if done > 0.1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        footage.serveable(source, tmp_path / "out" / "a.mp4", enough)
    assert list((tmp_path / "out").iterdir()) == []


def test_h264_in_the_format_of_cameras_is_copied(tmp_path: Path) -> None:
    source = encode(tmp_path / "own.mp4", bf="0", g="25")
    out = tmp_path / "out.mp4"
    footage.serveable(source, out)
    with av.open(str(source)) as a, av.open(str(out)) as b:
        first = [bytes(p) for p in a.demux(a.streams.video[0]) if p.size]
        again = [bytes(p) for p in b.demux(b.streams.video[0]) if p.size]
    assert again[: len(first)] == first
    assert len(again) == 15 * len(first), "2 s, repeated to 30"


@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [("mpeg4", "avi", {}), ("libx264", "mp4", {"bf": "3"}), ("libx264", "mkv", {"g": "1000", "bf": "0"})],
)
def test_other_video_is_transcoded(tmp_path: Path, codec: str, suffix: str, options: dict[str, str]) -> None:
    source = encode(tmp_path / f"own.{suffix}", codec=codec, frames=150, **options)
    assert not footage.is_serveable(source)
    done: list[float] = []
    out = tmp_path / "out.mp4"
    footage.serveable(source, out, done.append)
    assert footage.is_serveable(out)
    assert done[-1] == 1.0
    assert len(packets(out)) == 5 * 150


def test_wide_video_is_scaled_down(tmp_path: Path) -> None:
    source = encode(tmp_path / "wide.avi", codec="mpeg4", frames=30, size=(1920, 1080))
    footage.serveable(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (1280, 720)


@pytest.mark.parametrize("content", [b"nonsense", b""])
def test_a_file_without_video_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(SettingError, match=r"x\.mp4 can't be used as a camera"):
        footage.serveable(path, tmp_path / "out.mp4")


@pytest.mark.slow
async def test_bank_serves_files_for_ever_and_ends(scenes: list[Path], tmp_path: Path) -> None:
    short = encode(tmp_path / "short.mp4", frames=25, bf="0")
    async with Bank([short, scenes[0]], tmp_path / "bank") as bank:
        assert [u.rpartition("/")[2] for u in bank.urls] == ["short.mp4?play_count=0", f"{scenes[0].name}?play_count=0"]
        with av.open(bank.url("short.mp4"), options={"rtsp_transport": "tcp"}, timeout=5) as container:
            times = []
            for packet in container.demux(container.streams.video[0]):
                times.append(packet.pts)
                if len(times) > 60:
                    break
        assert len(times) > 60, "more than twice its length"
        process = bank._process
    assert process is not None and process.poll() is not None

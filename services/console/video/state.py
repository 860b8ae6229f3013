"""State of the requests for video."""

from __future__ import annotations

from services.console.console import Console
from services.console.video.clips import Clips
from services.console.video.live import Live
from services.console.video.pictures import Pictures
from shared.video.decoding.decoders import Decoders


class Video:
    """Pictures, clips and live video."""

    def __init__(self, console: Console) -> None:
        viewer, settings = console.links.viewer, console.settings
        self.console = console
        self.decoders = Decoders(settings.console_decoders)
        self.pictures = Pictures(viewer, self.decoders)
        self.clips = Clips(viewer, settings.console_clip_max_mb)
        self.live = Live(viewer)

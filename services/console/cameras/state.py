"""State of the page Cameras."""

from __future__ import annotations

from services.console.cameras.monitor import CameraMonitor
from services.console.cameras.rule_preview import RulePreviewer
from services.console.cameras.trial import CameraTrial
from services.console.console import Console
from services.console.feed.hub import Hub
from shared.contract import names


class Cameras:
    """The state of each camera, trials of cameras and of rules, and the bucket of rules."""

    def __init__(self, console: Console, feed: Hub) -> None:
        self.console = console
        self.monitor = CameraMonitor(console, feed)
        self.trial = CameraTrial()
        self.rules = console.bucket(names.RULES, console.links.operator)
        self.previewer = RulePreviewer(console.links.viewer)

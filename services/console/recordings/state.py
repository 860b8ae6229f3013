"""State of the page Recordings."""

from __future__ import annotations

from services.console.console import Console
from services.console.recordings.periods import RecordingPeriods
from services.console.recordings.reanalysis_runs import Reanalyses
from shared.contract import names


class Recordings:
    """The periods that recordings cover, and the runs over them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.periods = RecordingPeriods(console.links.viewer)
        self.runs = Reanalyses(console.links.viewer, console.mirrors[names.RUNS])

"""State of the page Scaling."""

from __future__ import annotations

from services.console.console import Console
from services.console.scaling.now import Now
from services.console.scaling.whatif import WhatIf


class Scaling:
    """now: from the scalers. whatif: running and ended simulations."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.now = Now(console.links.viewer)
        self.whatif = WhatIf()

"""State of the page Site."""

from __future__ import annotations

from services.console.console import Console
from services.console.site.applying import Applying
from services.console.web.concurrency_limit import ConcurrencyLimit

_BUSY = "a site file of yours is still being read: try again once that has ended"


class SitePage:
    """limit: of reads of the whole site by one person. applying: the one apply."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.limit = ConcurrencyLimit(2, _BUSY, 2)
        self.applying = Applying(console.links.admin)

"""State of the page Site."""

from __future__ import annotations

from services.console.console import Console
from services.console.site.applying import Applying
from services.console.web.concurrency_limit import ConcurrencyLimit

_BUSY = "two site files are being read already: try again in a moment"


class SitePage:
    """limit: of concurrent reads of the whole site. applying: the one apply."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.limit = ConcurrencyLimit(2, _BUSY, 2)
        self.applying = Applying(console.links.admin)

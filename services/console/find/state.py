"""State of the page Find."""

from __future__ import annotations

from services.console.console import Console
from services.console.find.saved_searches import SavedSearches
from services.console.find.search_client import SearchClient
from services.console.recordings.state import Recordings


class Find:
    """The search service, and people's saved searches."""

    def __init__(self, console: Console, recordings: Recordings) -> None:
        self.console = console
        self.client = SearchClient(console, recordings.periods.has)
        self.searches = SavedSearches(console.people.bucket)

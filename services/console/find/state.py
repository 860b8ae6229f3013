"""State of the page Find."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection

from services.console.find.saved_searches import SavedSearches
from services.console.find.search_client import SearchClient
from services.console.links.links import Links
from services.console.people.asker import Asker
from services.console.people.mirrored_bucket import MirroredBucket


class Find:
    """keys: of the bucket `cameras`. bucket: `console`. current: the user with the rights they have now. recorded:
    whether there may be a recording of a camera at a time.
    """

    def __init__(
        self,
        links: Links,
        keys: Collection[str],
        bucket: MirroredBucket,
        current: Callable[[Asker], Asker | None],
        recorded: Callable[[str, dt.datetime], bool],
    ) -> None:
        self.client = SearchClient(links.viewer, keys, current, recorded)
        self.searches = SavedSearches(bucket)

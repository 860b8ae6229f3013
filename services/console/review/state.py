"""State of the page Review: the incidents, and when cameras were offline."""

from __future__ import annotations

from services.console.people.mirrored_bucket import MirroredBucket
from services.console.review.event_reader import EventReader
from services.console.review.gaps import Statuses
from services.console.review.index import Index
from services.console.review.reviews import Reviews
from shared.bus.client import Connection


class Review:
    """client: the viewer's connection."""

    def __init__(self, client: Connection, bucket: MirroredBucket) -> None:
        self.client = client
        self.index = Index()
        self.statuses = Statuses()
        self.reader = EventReader(client, self.index, self.statuses)
        self.reviews = Reviews(bucket)

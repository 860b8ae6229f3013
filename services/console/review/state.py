"""State of the page Review: the incidents, and when cameras were offline."""

from __future__ import annotations

from services.console.console import Console
from services.console.feed.hub import Hub
from services.console.recordings.state import Recordings
from services.console.review.event_reader import EventReader
from services.console.review.gaps import Statuses
from services.console.review.index import Index
from services.console.review.reviews import Reviews
from services.console.video.state import Video
from shared.contract import names


class Review:
    """Incidents, and what a person has reviewed of them."""

    def __init__(self, console: Console, feed: Hub, video: Video, recordings: Recordings) -> None:
        self.console = console
        self.video = video
        self.recordings = recordings
        self.index = Index()
        self.statuses = Statuses()
        self.reader = EventReader(console.links.viewer, self.index, self.statuses)
        self.reviews = Reviews(console.bucket(names.REVIEWS, console.links.own))
        feed.taps.append(self.reader.hear)

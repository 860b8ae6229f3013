"""A replica's answers of all its cameras, and how long they may be reused. No I/O, and no clock but the cameras' own.

Example:
    cache = AnswerCache(refresh_s=300)
    known = cache.known(key, start, duration)
    match = cache.find(known, pictures, start)                    # thread-safe
    cache.record_match(key, match)
    cache.add(key, pictures, start, value)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from shared.static_scene import answers, full_inference
from shared.static_scene.answers import Answers, Match
from shared.static_scene.picture import Grey

T = TypeVar("T")

# Minimum of the maximum age of an answer, in seconds of the camera's time: a replica of many rarely makes one itself.
MAX_AGE_S = 300.0
# Maximum number of cameras in memory, those seen last: each takes some 30 kB.
MAX_CAMERAS = 2000


class Key(NamedTuple):
    """fingerprint: of all that an answer depends on besides the pictures: the model, its prompt, its settings."""

    camera: str
    fingerprint: str


class AnswerCache(Generic[T]):
    """One per process. refresh_s: maximum interval of a camera's full answers, in seconds of its time."""

    def __init__(self, refresh_s: float, max_cameras: int = MAX_CAMERAS) -> None:
        self._refresh_s = refresh_s
        self._max_cameras = max_cameras
        self._cameras: dict[str, tuple[str, Answers[T]]] = {}

    def known(self, key: Key, start: float, duration: float) -> Answers[T]:
        """Return a camera's answers; none if a full one is due, on any replica. It is immutable."""
        is_due = full_inference.falls_in(key.camera, start, duration, self._refresh_s)
        return answers.new() if is_due else self._of(key)

    def find(self, known: Answers[T], pictures: Sequence[Grey], start: float) -> Match[T] | None:
        """Return the answer that holds for these pictures, if any."""
        return answers.find(known, pictures, start, max(MAX_AGE_S, self._refresh_s))

    def record_match(self, key: Key, match: Match[T]) -> None:
        """Record a reuse that was published."""
        self._put(key, answers.record_match(self._of(key), match))

    def add(self, key: Key, pictures: Sequence[Grey], start: float, value: T) -> None:
        """Record an answer of the model that was published."""
        self._put(key, answers.add(self._of(key), pictures, start, value))

    def _of(self, key: Key) -> Answers[T]:
        fingerprint, found = self._cameras.get(key.camera, ("", None))
        return found if found is not None and fingerprint == key.fingerprint else answers.new()

    def _put(self, key: Key, changed: Answers[T]) -> None:
        self._cameras.pop(key.camera, None)
        self._cameras[key.camera] = key.fingerprint, changed
        if len(self._cameras) > self._max_cameras:
            del self._cameras[next(iter(self._cameras))]

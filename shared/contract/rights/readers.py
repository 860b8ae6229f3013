"""External apps that read EVENTS at their own rate: each an identity of its own, with a durable consumer. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec

from shared.contract import catalog, names
from shared.contract.catalog import WITHOUT_LIMIT, Consumer, Peer
from shared.contract.names import Token
from shared.runtime.errors import SettingError

# Revisions of all kinds: one kind to readers.
_REVISIONS = names.revised("").rstrip(".")


class Reader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """kinds, cameras: of the events that it may read; empty: all."""

    name: Token
    kinds: tuple[Token, ...] = ()
    cameras: tuple[Token, ...] = ()

    @property
    def identity(self) -> str:
        """Return its user name, which is also the name of its consumer."""
        return f"reader-{self.name}"

    @property
    def subjects(self) -> tuple[str, ...]:
        """Return the subjects that it may read; no two of them overlap."""
        if not self.cameras:
            return tuple(names.event(kind, ">") for kind in self.kinds) or (f"{names.EVENT}.>",)
        return tuple(_of(kind, camera) for kind in self.kinds or ("*", _REVISIONS) for camera in self.cameras)

    @property
    def consumer(self) -> Consumer:
        """Return its consumer: it starts with events after its creation, and an app that is away misses nothing."""
        return Consumer(
            stream=names.EVENTS,
            name=self.identity,
            filters=self.subjects,
            max_deliver=WITHOUT_LIMIT,
            from_now=True,
        )

    @property
    def peer(self) -> Peer:
        """Return its record, which determines its rights."""
        return Peer(identity=self.identity, hears=self.subjects, consumers=(self.consumer,))


def new_reader(name: str, kinds: Iterable[str], cameras: Iterable[str]) -> Reader:
    """Return a new reader. Raises SettingError for an invalid name, kind or camera."""
    names.check_token(name, "reader")
    available = kinds_there_are()
    for kind in (kinds := tuple(dict.fromkeys(kinds))):
        if kind not in available:
            near = difflib.get_close_matches(kind, available, n=1, cutoff=0.5)
            meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(available)}"
            raise SettingError(f"there is no kind of event {kind!r}: {meant}")
    return Reader(name=name, kinds=kinds, cameras=tuple(dict.fromkeys(map(names.check_camera, cameras))))


def _of(kind: str, camera: str) -> str:
    return names.event(names.revised("*") if kind == _REVISIONS else kind, camera)


def kinds_there_are() -> tuple[str, ...]:
    """Return the kinds of event that services publish, including those of installed packages."""
    published = (subject.split(".") for service in catalog.services() for subject in service.publishes)
    return tuple(sorted({tokens[1] for tokens in published if tokens[0] == names.EVENT and len(tokens) > 1}))

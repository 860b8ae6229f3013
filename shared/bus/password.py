"""A password that may be a new one at the next connection, and that server and client need not learn at once."""

from __future__ import annotations

from pathlib import Path


class Password:
    """first: what the process began with. path: the file that it is read from again, if it is in one.

    A server has the password of before until it has read its configuration again, and so has the file until somebody
    wrote it; of several servers some may have one and some the other. So each is tried with what the file has, and then
    with what has ever worked, in turns, the latest first.
    """

    def __init__(self, first: str, path: Path | None = None) -> None:
        self._known = [first]
        self._path = path
        self._tries: dict[str, int] = {}
        self._given: tuple[str, str] = "", first

    @property
    def is_of_file(self) -> bool:
        """Whether the file has what the process began with."""
        return self._read() == self._known[-1]

    def next(self, server: str) -> str:
        """For one more try with a server, by its address."""
        choices = list(dict.fromkeys((self._read(), *reversed(self._known))))
        tries = self._tries[server] = self._tries.get(server, -1) + 1
        self._given = server, choices[tries % len(choices)]
        return self._given[1]

    def worked(self) -> None:
        """The server took what was given last."""
        server, password = self._given
        self._tries.pop(server, None)
        if password in self._known:
            self._known.remove(password)
        self._known.append(password)

    def _read(self) -> str:
        """A file that can't be read, as while it is being replaced, is as it was."""
        try:
            return (self._path.read_text().strip() if self._path else "") or self._known[-1]
        except (OSError, ValueError):
            return self._known[-1]

"""A password that may be a new one at the next connection, and that server and client need not learn at once."""

from __future__ import annotations

from pathlib import Path


class Password:
    """first: what the process began with. path: the file that it is read from again, if it is in one.

    A server has the password of before until it has read its configuration again, and so has the file until somebody
    wrote it: each server is tried with what the file has, and then with what worked last, in turns.
    """

    def __init__(self, first: str, path: Path | None = None) -> None:
        self._worked = self._given = first
        self._path = path
        self._tries: dict[str, int] = {}

    @property
    def is_of_file(self) -> bool:
        """Whether the file has what the process began with."""
        return self._read() == self._worked

    def next(self, server: str) -> str:
        """For one more try with a server, by its address."""
        now = self._read()
        choices = list(dict.fromkeys((now, self._worked)))
        tries = self._tries[server] = self._tries.get(server, -1) + 1
        self._given = choices[tries % len(choices)]
        return self._given

    def worked(self) -> None:
        """The server took what was given last."""
        self._worked = self._given
        self._tries.clear()

    def _read(self) -> str:
        """A file that can't be read, as while it is being replaced, is as it was."""
        try:
            return (self._path.read_text().strip() if self._path else "") or self._worked
        except (OSError, ValueError):
            return self._worked

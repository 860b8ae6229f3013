"""A password that may change between connections, and not at the same time for server and client."""

from __future__ import annotations

from pathlib import Path


class Password:
    """first: the initial password. path: the file to re-read it from, if any.

    A server has the old password until it reloads its configuration, and the file has it until it is rewritten. Of
    several servers some may have the old one and some the new one. So each server is tried with the file's password,
    and then with every accepted one, in turn, the latest first.
    """

    def __init__(self, first: str, path: Path | None = None) -> None:
        self._accepted = [first]
        self._path = path
        self._tries: dict[str, int] = {}
        self._last_try: tuple[str, str] = "", first

    @property
    def is_of_file(self) -> bool:
        """Whether the file has the initial password."""
        return self._read() == self._accepted[-1]

    def next(self, server: str) -> str:
        """Return the password for the next try with a server, by its address."""
        choices = list(dict.fromkeys((self._read(), *reversed(self._accepted))))
        tries = self._tries[server] = self._tries.get(server, -1) + 1
        self._last_try = server, choices[tries % len(choices)]
        return self._last_try[1]

    def record_success(self) -> None:
        """Record that the server accepted the last password."""
        server, password = self._last_try
        self._tries.pop(server, None)
        if password in self._accepted:
            self._accepted.remove(password)
        self._accepted.append(password)

    def _read(self) -> str:
        """Read the file. If it can't be read, as during its replacement, return the last accepted password."""
        try:
            return (self._path.read_text().strip() if self._path else "") or self._accepted[-1]
        except (OSError, ValueError):
            return self._accepted[-1]

"""A request that is answered with an error."""

from __future__ import annotations

from shared.runtime.errors import TidegateError


class Refused(TidegateError):
    """status: of HTTP. headers: further ones. Its sentence is for people."""

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

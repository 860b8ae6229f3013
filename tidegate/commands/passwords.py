"""How the password of a camera gets to a command: by standard input, a file, or a hidden prompt.

What is in a command line is in the shell's history, and other users of the machine see it while the command runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import msgspec

from shared.contract.credentials import with_password
from shared.runtime.errors import SettingError
from shared.runtime.redact import join_credentials, split_credentials
from tidegate.commands.options import FILE
from tidegate.view.inert import echo

# Instead of a URL: it is read from standard input, with the password that may be in it.
STDIN = "-"
WARNING = (
    "warning: a password is in this command line, where other users of this machine and the shell's history see it. "
    "Leave it out of the URL: you are asked for it, or give --password-stdin or --password-file"
)


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `options`, as they were given."""

    user: str | None = None
    password_stdin: bool = False
    password_file: Path | None = None

    def password(self, asked_of: str | None = None) -> str | None:
        """The password that standard input or the file has, or that somebody types; None where there is none.

        asked_of: the user whose password is asked for at a terminal, where no option gives it. Raises SettingError.
        """
        if self.password_stdin and self.password_file:
            raise SettingError("--password-stdin and --password-file exclude each other: give one of them")
        if self.password_stdin:
            return _checked(sys.stdin.read(), "standard input")
        if self.password_file:
            return _checked(self.password_file.read_text(errors="surrogateescape"), str(self.password_file))
        who = self.user or asked_of
        if who and _terminal():
            return (
                click.prompt(f"Password of {who} (none: Enter)", "", hide_input=True, show_default=False, err=True)
                or None
            )
        if self.user:
            raise SettingError("--user has no password: give it by --password-stdin or --password-file")
        return None


NONE = Given()


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that give a camera's password."""
    for option in reversed(
        (
            click.option("--user", help="Log in to the camera as this user, whose password is asked for."),
            click.option("--password-stdin", is_flag=True, help="Read the password from standard input."),
            click.option("--password-file", type=FILE, help="Read the password from this file."),
        )
    ):
        function = option(function)
    return function


def given(options: dict[str, Any]) -> Given:
    """Take these options out of all that a command has."""
    return Given(**{name: options.pop(name) for name in Given.__struct_fields__})


def address(text: str, more: Given | None = None) -> str:
    """A URL, or the first line of standard input where that is `-`. Raises SettingError."""
    if text != STDIN:
        return text
    if more and more.password_stdin:
        raise SettingError("standard input can't have both the URL and the password: give --password-file")
    return sys.stdin.readline().strip()


def asked(url: str | None, more: Given) -> str | None:
    """The password that the options give, or that the user in `url` is asked for. Raises SettingError."""
    secret = _secret(url or "")
    user = secret if secret and ":" not in secret else None
    password = more.password(unquote(user) if user else None)
    if password is not None and secret and not user:
        raise SettingError("a password is in the URL, and another is given: give one of them")
    return password


def joined(url: str, more: Given) -> str:
    """`url` with the password that the options give, or that is asked for. Raises SettingError."""
    password = asked(url, more)
    return url if password is None else join_credentials(_bare(url), with_password(_secret(url), more.user, password))


def warn(text: str) -> None:
    """Say so if `text`, which is of the command line, has a password in it."""
    if ":" in (_secret(text) or ""):
        echo(WARNING, err=True)


def _secret(url: str) -> str | None:
    try:
        return split_credentials(url)[1]
    except ValueError:  # It is refused where it is used, with the remedy.
        return None


def _bare(url: str) -> str:
    return split_credentials(url)[0]


def _checked(text: str, source: str) -> str:
    password = text.removesuffix("\n").removesuffix("\r")
    if not password or "\n" in password:
        raise SettingError(f"{source} has no password, or more than one line: give the password alone")
    return password


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()

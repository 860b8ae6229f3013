"""Passwords of cameras as input of commands: from standard input, a file, or a hidden prompt.

A command line is no safe place: the shell's history stores it, and other users of the machine see it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import msgspec

from shared.contract.credentials import with_password
from shared.runtime.errors import SettingError
from shared.runtime.redact import join_credentials, split_credentials
from tidegate.commands.options import FILE, combined
from tidegate.view.inert import echo

# Instead of a URL: read it from standard input, including a password in it.
STDIN = "-"
WARNING = (
    "warning: a password is in this command line, where other users of this machine and the shell's history see it. "
    "Leave it out of the URL: you are asked for it, or give --password-stdin or --password-file"
)


class PasswordOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The values of the options that `options` adds."""

    user: str | None = None
    password_stdin: bool = False
    password_file: Path | None = None

    def password(self, prompt_user: str | None = None) -> str | None:
        """Return the password from standard input, the file or a prompt; None if there is none.

        prompt_user: the user to prompt for at a terminal, if no option sets one. Raise SettingError.
        """
        if self.password_stdin and self.password_file:
            raise SettingError("--password-stdin and --password-file exclude each other: give one of them")
        if self.password_stdin:
            return _single_line(sys.stdin.read(), "standard input")
        if self.password_file:
            return _single_line(self.password_file.read_text(errors="surrogateescape"), str(self.password_file))
        user = self.user or prompt_user
        if user and _is_terminal():
            return (
                click.prompt(f"Password of {user} (none: Enter)", "", hide_input=True, show_default=False, err=True)
                or None
            )
        if self.user:
            raise SettingError("--user has no password: give it by --password-stdin or --password-file")
        return None


NONE = PasswordOptions()


# The options for a camera's password.
options = combined(
    click.option("--user", help="User name at the camera; a terminal prompts for the password."),
    click.option("--password-stdin", is_flag=True, help="Read the password from standard input."),
    click.option("--password-file", type=FILE, help="File to read the password from."),
)


def take_options(options: dict[str, Any]) -> PasswordOptions:
    """Remove these options from a command's options and return them."""
    return PasswordOptions(**{name: options.pop(name) for name in PasswordOptions.__struct_fields__})


def address(text: str, login: PasswordOptions | None = None) -> str:
    """Return the URL, or the first line of standard input instead of `-`. Raise SettingError."""
    if text != STDIN:
        return text
    if login and login.password_stdin:
        raise SettingError("standard input can't have both the URL and the password: give --password-file")
    return sys.stdin.readline().strip()


def resolve(url: str | None, login: PasswordOptions) -> str | None:
    """Return the password of the options, or prompt for that of the user in `url`. Raise SettingError."""
    credentials = _credentials(url or "")
    user = credentials if credentials and ":" not in credentials else None
    password = login.password(unquote(user) if user else None)
    if password is not None and credentials and not user:
        raise SettingError("a password is in the URL, and another is given: give one of them")
    return password


def url_with_password(url: str, login: PasswordOptions) -> str:
    """Return `url` with the password of the options or the prompt. Raise SettingError."""
    password = resolve(url, login)
    if password is None:
        return url
    return join_credentials(_without_credentials(url), with_password(_credentials(url), login.user, password))


def warn(*texts: str | None) -> None:
    """Print a warning if one of `texts`, arguments of the command line, contains a password."""
    if any(":" in (_credentials(text or "") or "") for text in texts):
        echo(WARNING, err=True)


def _credentials(url: str) -> str | None:
    try:
        return split_credentials(url)[1]
    except ValueError:  # The code that uses the URL refuses it, with a remedy.
        return None


def _without_credentials(url: str) -> str:
    return split_credentials(url)[0]


def _single_line(text: str, source: str) -> str:
    password = text.removesuffix("\n").removesuffix("\r")
    if not password or "\n" in password:
        raise SettingError(f"{source} has no password, or more than one line: give the password alone")
    return password


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()

"""Why a process ended: the last error of its output, on one line and without credentials.

Example:
    sentence(1, log.read_text(), secrets_of(environ))   # "ValueError: no such layer"
"""

from __future__ import annotations

import ast
import json
import re
import signal
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from shared.runtime.plain import plain
from shared.runtime.problems import LONGEST
from shared.runtime.redact import redact

# The part of a log that is searched for an error.
TAIL_BYTES = 64 * 1024
# A shorter value is part of ordinary words.
SHORTEST_SECRET = 6
_SECRET = re.compile(r"(PASSWORD|SECRET|TOKEN|KEY|CREDENTIALS)(_FILE)?$")
_BAD = ("error", "critical", "exception")
_TRACEBACK = "Traceback (most recent call last):"
# A line of a traceback's code, and one that begins a log line.
_FRAME, _LOGGED = re.compile(r"^(\s|$)"), re.compile(r"^(\d{4}-\d\d-\d\dT|\{)")
# Lines of an exception's text.
MOST_LINES = 4
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_HINTS = {
    signal.SIGKILL: "as the system does when memory runs out",
    signal.SIGSEGV: "a fault in native code, such as a driver or a codec",
    signal.SIGBUS: "a full disk or a fault of memory",
    signal.SIGILL: "native code for another processor",
}


def sentence(code: int | None, log: str, secrets: Collection[str]) -> str:
    """Return why a process with this exit code ended. log: the end of its output. code: negative for a signal."""
    lines = [_ANSI.sub("", line) for line in log.splitlines()]
    error = last_error(lines)
    if code is None or code > 0:
        # What it printed last, such as the usage of a command, is the best guess.
        text = error or next((line for line in reversed(lines) if line.strip()), "")
        return clean(text or f"it exited with code {code} and printed nothing", secrets)
    return clean("; ".join(filter(None, (_how(code), error))), secrets)


def clean(text: str, secrets: Collection[str] = ()) -> str:
    """Return the text on one line, without credentials, of at most LONGEST characters."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return redact(plain(text), LONGEST - 1)


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """Return the values of passwords and keys in an environment, those in files too."""
    found = []
    for name, value in environ.items():
        if match := _SECRET.search(name):
            found.append(_content(value) if match[2] else value)
    return [value for value in found if len(value) >= SHORTEST_SECRET]


def last_error(lines: Sequence[str]) -> str:
    """Return the last error that lines report, by a log line or a traceback; empty without any."""
    for n in reversed(range(len(lines))):
        if found := _raised(lines[n:]) or _reported(lines[n]):
            return found
    return ""


def _reported(line: str) -> str:
    """Return the cause in a log line of level error; empty for other lines."""
    if line.startswith("{"):
        return _reported_as_json(line)
    # structlog's line: a time, a level, an event, and values, of which `error` is the cause.
    time, _, rest = line.partition(" [")
    level, bracket, message = rest.partition("]")
    if not bracket or " " in time or level.strip() not in _BAD:
        return ""
    _, found, value = message.partition(" error=")
    return _value(value) if found else message.strip().partition("  ")[0]


def _value(text: str) -> str:
    """Return the first value of `text`, which is quoted if it has spaces."""
    quote = text[:1]
    if quote not in ("'", '"'):
        return text.partition(" ")[0]
    end = 1
    while end < len(text) and text[end] != quote:
        end += 2 if text[end] == "\\" else 1
    try:
        return str(ast.literal_eval(text[: end + 1]))
    except (ValueError, SyntaxError):
        return text[1:end]


def _reported_as_json(line: str) -> str:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(values, dict) or values.get("level") not in _BAD:
        return ""
    if exception := values.get("exception"):
        return last_error(str(exception).splitlines())
    return str(values.get("error") or values.get("event") or "")


def _raised(lines: Sequence[str]) -> str:
    """Return the exception of a traceback that begins in the first line; empty if none does."""
    if not lines or lines[0].strip() != _TRACEBACK:
        return ""
    begin = next((n for n, line in enumerate(lines) if n and not _FRAME.match(line)), None)
    if begin is None:
        return ""
    text = [lines[begin]]
    for line in lines[begin + 1 : begin + MOST_LINES]:
        if _LOGGED.match(line):
            break
        text.append(line)
    return " ".join(line.strip() for line in text if line.strip())


def _how(code: int) -> str:
    if code == 0:
        return "it ended by itself, without an error"
    try:
        number = signal.Signals(-code)
    except ValueError:
        return f"it was killed by signal {-code}"
    hint = _HINTS.get(number)
    return f"it was killed by {number.name}" + (f", {hint}" if hint else "")


def _content(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(4096).decode(errors="replace").strip()
    except (OSError, ValueError):
        return ""

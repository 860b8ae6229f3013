"""Every command with its arguments and options: from click."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from tidegate.commands import tidegate
from tools.reference.markdown import code, page, table

INTRO = """`tidegate --help` prints the same. Commands end with exit code 0 when done, 1 with one sentence that says
what failed, 2 where the command line itself is wrong, and 130 after Ctrl-C."""


def text() -> str:
    """Return the page."""
    return page(
        "Commands",
        INTRO,
        *(block for path, command in commands(tidegate, "tidegate") for block in _command(path, command)),
    )


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield (words, command) of each command that is not a group, sorted by name within a group."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command, info_name=path)
    for name in sorted(command.list_commands(context)):
        if (inner := command.get_command(context, name)) and not inner.hidden:
            yield from commands(inner, f"{path} {name}")


def _command(path: str, command: click.Command) -> Iterator[str]:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    yield f"## {path}"
    yield f"```\n{' '.join([path, *map(_argument, arguments), *(['[OPTIONS]'] if options else [])])}\n```"
    yield from _help(command.help or "")
    if options:
        yield table(("option", "takes", "default", "means"), map(_option, options))


def _help(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text; those that click does not rewrap become code."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            yield f"```\n{inspect.cleandoc(paragraph[1:])}\n```"
        else:
            yield " ".join(paragraph.split())


def _argument(argument: click.Argument) -> str:
    name = str(argument.name).upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _option(option: click.Option) -> tuple[str, ...]:
    names = ", ".join(map(code, [*option.opts, *option.secondary_opts]))
    default = option.to_info_dict()["default"]
    shown = "" if option.is_flag or default in (None, (), []) else code(str(default))
    variable = f"Also by the variable {option.envvar}." if option.envvar else ""
    takes = "" if option.is_flag else _type(option)
    return (
        names,
        takes + (", may be repeated" if option.multiple else ""),
        shown,
        " ".join(f"{option.help or ''} {variable}".split()),
    )


def _type(option: click.Option) -> str:
    kind = option.type
    if isinstance(kind, click.Choice):
        return ", ".join(code(str(choice)) for choice in kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        low, high = (f"{b:g}" if b is not None else "" for b in (kind.min, kind.max))
        return f"number, {low} to {high}" if low and high else f"number, {low or high} at {'least' if low else 'most'}"
    words = {
        "integer": "whole number",
        "float": "number",
        "text": "text",
        "file": "file",
        "directory": "folder",
        "path": "path",
    }
    return f"{option.metavar}" if option.metavar else words.get(kind.name, kind.name)

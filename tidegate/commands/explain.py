"""`tidegate explain`: the demand computation behind a service's replicas."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import click
import msgspec
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.client.explain import ask
from shared.contract.questions.explain import Explanation, Term
from shared.runtime.errors import SettingError
from tidegate.commands.options import data_option, screen, with_admin
from tidegate.view.inert import echo_json, one_line

# An older query is not current: KEDA polls every 30 s by default.
CURRENT_S = 60.0
# The kinds of scaler, in words.
SCALERS = {"autoscaler": "the local autoscaler", "scaler": "the scaler beside KEDA"}


@click.command()
@data_option
@click.argument("service", default="cv")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def explain(data: Path | None, service: str, as_json: bool) -> None:
    """Explain why SERVICE has its replicas: print every term of its demand, from the running scaler.

    \b
    For the detector:       tidegate explain cv
    For a program:          tidegate explain cv --json

    SERVICE defaults to cv. The reply comes from 'tidegate up', or from KEDA's external scaler. After a change of
    settings, the previous query is shown too for ten minutes; the first one is current.
    """
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", service):
        raise SettingError(f"SERVICE {service!r} can't be used: give the name of a service, such as cv or embed")
    with_admin(data, lambda client: run(client, service, screen(), as_json))


async def run(client: Client, service: str, out: Console, as_json: bool) -> None:
    """Print the terms of every query of a service. Raise BusError, or SettingError if there is no query."""
    answers = await ask(client, service)
    explanations = sorted(((a.by, e) for a in answers for e in a.found), key=lambda each: each[1].asked_s)
    if not explanations:
        services = ", ".join(sorted({s for a in answers for s in a.services})) or "none yet"
        raise SettingError(
            f"no ScaledObject asks a scaler for {service!r}, or not lately; asked for: {services}. "
            "A trigger of type nats-jetstream counts pending messages and has no more to say: scale by demand, as "
            "deploy/keda/demand/cv.yaml does, which 'tidegate up' reads without --scaled-object"
        )
    for by, explanation in explanations:
        if as_json:
            echo_json({"by": by, **msgspec.to_builtins(explanation)})
        else:
            show(by, explanation, out)


def show(by: str, e: Explanation, out: Console) -> None:
    """Print one explanation. Only a terminal wraps its lines."""
    print_line = partial(out.print, soft_wrap=not out.is_terminal)
    current = e.asked_s < CURRENT_S
    title = ("current" if current else "no longer asked for", "green" if current else "yellow")
    source = (f"({one_line(SCALERS.get(by, by))}, {_age(e)}; asked for {_ago(e.asked_s)})", "dim")
    print_line(Text.assemble((one_line(_sentence(e)), "bold"), "  ", title, "  ", source))
    if e.shortage:
        print_line(Text(f"  {one_line(e.shortage.words)}", "yellow"))
    for line in e.lines:
        print_line(Text(f"  {one_line(line)}"))
    terms = Table("term", "value", box=None, pad_edge=False)
    for name, value in e.terms.items():
        terms.add_row(*(Text(one_line(text)) for text in (name.replace("_", " "), _value(value))))
    out.print(terms)
    settings = ", ".join(f"{name} {_value(value)}" for name, value in e.settings.items())
    print_line(Text(f"settings: {one_line(settings)}"))
    if e.replicas_from:
        replica_states = ", ".join(f"{r.replica} {r.state}" for r in e.replicas) or "none heard"
        print_line(Text(one_line(f"replicas by {e.replicas_from}: {replica_states}")))


def _sentence(e: Explanation) -> str:
    if e.error:
        return f"{e.service}: unknown, as {e.error}"
    replicas = e.terms.get("replicas", 0.0)
    active = "work to do" if e.terms.get("active") else "nothing to do"
    return f"{e.service} needs {_value(replicas)} {'replica' if replicas == 1 else 'replicas'} for {e.of}: {active}"


def _ago(seconds: float) -> str:
    return "now" if seconds < 1 else f"{seconds:.0f} s ago"


def _age(e: Explanation) -> str:
    return "not read yet" if e.age_s is None else f"{e.age_s:.1f} s ago"


def _value(value: Term) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

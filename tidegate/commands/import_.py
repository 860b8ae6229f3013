"""`tidegate import`: the configuration of another system as a site file, and what becomes of each of its fields."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from shared.runtime.errors import SettingError
from tidegate.client.files import written
from tidegate.commands import Group
from tidegate.commands.options import FILE, NEW_FILE, RATE, SECONDS, Number, combined
from tidegate.importing.report import Report, Row, counts
from tidegate.view import records
from tidegate.view.inert import echo, echo_json
from tidegate.view.records import Wrapped
from tidegate.view.waiting import telling

FIELDS = ("field", "becomes", Wrapped("how"))
# Files are read up to this, so that the importer itself can state that one is too large.
_MOST = 64 * 1024 * 1024

_outputs = combined(
    click.option("--save", type=NEW_FILE, help="File to write the result to, for you alone. Default: standard output."),
    click.option("--force", is_flag=True, help="Replace an existing file of --save or --report."),
    click.option("--report", "table", type=NEW_FILE, help="File to write the table to. Default: standard error."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object with result, rows and variables."),
)


@click.group("import", cls=Group)
def import_() -> None:
    """Import the configuration of Frigate, of NVIDIA's VSS or of KEDA.

    \b
    From Frigate:           tidegate import frigate config.yml --save site.yaml
    From VSS:               tidegate import vss sensors.json --save site.yaml
    From KEDA:              tidegate import keda scaledobject.yaml --service-rate 12

    A table lists every field of the input once: mapped, approximated, default anyway, or no counterpart, with what to
    use instead. Nothing is changed on a server, and no password is printed.
    """


@import_.command("frigate")
@click.argument("file", type=FILE)
@_outputs
def frigate(file: Path, **outputs: Any) -> None:
    """Convert FILE, a Frigate configuration of version 0.14 to 0.18, to a site file.

    \b
    Write the site file:    tidegate import frigate config.yml --save site.yaml
    See the table alone:    tidegate import frigate config.yml > /dev/null

    Passwords become variables, which the table lists. Of a camera's streams the recorded one is read if Frigate records
    the camera, else the one with the role detect.
    """
    from tidegate.importing.frigate import convert
    from tidegate.importing.site_file import text_of
    from tidegate.importing.source import read

    imported = convert(read(_content(file), file.name), file.name)
    _put(text_of(imported.site, file.name), imported.report, next_steps=True, **outputs)


@import_.command("vss")
@click.argument("file", type=FILE)
@click.option("--alerts", type=FILE, help="File of the verifier's alert types: their prompts go under x-alerts.")
@_outputs
def vss(file: Path, alerts: Path | None, **outputs: Any) -> None:
    """Convert FILE, a list of sensors of NVIDIA's VSS blueprint, to a site file.

    \b
    Write the site file:    tidegate import vss sensors.json --save site.yaml
    With alert prompts:     tidegate import vss sensors.json --alerts alert_type_config.json

    FILE is the blueprint's camera configuration, or a list of sensors of its video storage with their addresses.
    """
    from tidegate.importing.site_file import text_of
    from tidegate.importing.source import read_list
    from tidegate.importing.vss import convert

    document = read_list(_content(file), file.name, "sensors")
    if alerts:
        document |= {"alerts": read_list(_content(alerts), alerts.name, "alerts").get("alerts", [])}
    imported = convert(document, file.name)
    _put(text_of(imported.site, file.name), imported.report, next_steps=True, **outputs)


@import_.command("keda")
@click.argument("file", type=FILE)
@click.option("--service", default="cv", show_default=True, help="Service of Tidegate to scale.")
@click.option("--service-rate", type=RATE, required=True, help="Messages per second of a busy replica.")
@click.option("--latency-target", type=SECONDS, default=2.0, show_default=True, help="Seconds from arrival to result.")
@click.option("--cold-start", type=Number(0, 86400), default=60.0, show_default=True, help="Seconds of a cold start.")
@click.option("--trace", help="CSV file of t_s,arrivals, or a synthetic trace such as days, to compare the costs on.")
@_outputs
def keda(
    file: Path,
    service: str,
    service_rate: float,
    latency_target: float,
    cold_start: float,
    trace: str | None,
    **outputs: Any,
) -> None:
    """Propose a ScaledObject with a latency target for FILE, one that scales by lag of nats-jetstream or kafka.

    \b
    A proposal:             tidegate import keda scaledobject.yaml --service-rate 12 --latency-target 2
    And both costs:         tidegate import keda scaledobject.yaml --service-rate 12 --trace days

    minReplicaCount and maxReplicaCount are taken over. The table states what differs, and why. Messages are Tidegate's
    segments of about a second of video: measure the rate by 'tidegate model bench'.
    """
    from tidegate.audit.candidates import bases
    from tidegate.importing.keda import convert, only_document
    from tidegate.simulation.engine import Workload

    load = Workload(service_rate=service_rate, latency_target_s=latency_target, cold_start_s=cold_start)
    proposal = convert(only_document(_content(file), file.name), file.name, bases(service), load)
    costs = _costs(proposal, trace, load) if trace else []
    for line in costs:
        proposal.report.remark(line)
    proposal.report.remark(
        f"compare all policies: tidegate audit {service} --trace TRACE --service-rate {service_rate:g}"
    )
    _put(proposal.text, proposal.report, next_steps=False, **outputs)


def _costs(proposal: Any, name: str, load: Any) -> list[str]:
    """Return the costs of the input's policy and of the proposal on a trace, a line each."""
    from tidegate.audit.trial import simulate
    from tidegate.commands.simulate import load_trace

    trace = load_trace(name)
    lines = []
    with telling() as tell:
        tell("simulating both policies on the trace")
        for label, candidate in (("the input", proposal.foreign), ("the proposal", proposal.ours)):
            result = simulate(candidate, trace, load)
            hours = result.replica_hours * 30 * 86_400 / trace.duration_s
            lines.append(
                f"{label}: {hours:.0f} replica-hours in 30 days on {trace.name}, "
                f"{result.window_attainment:.1%} of minutes within {load.latency_target_s:g} s"
            )
    return lines


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_MOST)


def _put(
    text: str, report: Report, *, next_steps: bool, save: Path | None, force: bool, table: Path | None, as_json: bool
) -> None:
    """Print or write the result, and the table. Raises SettingError for a file that exists already."""
    for path, option in ((save, "--save"), (table, "--report")):
        if path and path.exists() and path.is_file() and not force:
            raise SettingError(f"{option} {path} exists: give another, or --force to replace it")
    rows = report.rows()
    if save:
        _write(save, "--save", text)
    if as_json:
        echo_json(_fields(None if save else text, report, rows))
    elif not save:
        echo(text, nl=False)
    if table:
        _write(table, "--report", "".join(f"{line}\n" for line in _lines(rows)))
    if not as_json:
        _print_table(report, None if table else rows, counts(rows))
    if next_steps and not as_json:
        name = save or "site.yaml"
        echo(f"next: tidegate diff -f {name}; tidegate apply -f {name}", err=True)


def _fields(text: str | None, report: Report, rows: list[Row]) -> dict[str, Any]:
    return {
        "result": text,
        "counts": counts(rows),
        "rows": [row._asdict() for row in rows],
        "variables": [variable._asdict() for variable in report.variables],
        "notes": report.notes,
    }


def _lines(rows: list[Row]) -> list[str]:
    return ["\t".join(row) for row in rows]


def _print_table(report: Report, rows: list[Row] | None, found: dict[str, int]) -> None:
    """Print the table, the counts, the variables to set and the remarks to standard error."""
    from tidegate.view.screen import Screen

    if rows is not None:
        records.show(Screen(stderr=True), FIELDS, [tuple(row) for row in rows], "no fields")
    echo(f"{sum(found.values())} fields: " + ", ".join(f"{n} {status}" for status, n in found.items()), err=True)
    for variable in report.variables:
        echo(f"set {variable.name}: {variable.purpose}", err=True)
    for note in report.notes:
        echo(note, err=True)


def _write(path: Path, option: str, text: str) -> None:
    with written(path, option) as part:
        opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w") as file:
            file.write(text)

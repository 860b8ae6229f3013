"""`tidegate dashboards`: the configuration of a Prometheus and a Grafana next to `tidegate up`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from tidegate.commands.options import FOLDER, data_option
from tidegate.local import dashboards as configuration
from tidegate.local.running import default_data
from tidegate.view.inert import echo


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@data_option
@click.option("--containers", is_flag=True, help="Scrape the containers of compose.yaml instead of 'tidegate up'.")
def dashboards(folder: Path, data: Path | None, containers: bool) -> None:
    """Write the configuration of Prometheus and Grafana, with alerts and dashboards, to DIR.

    \b
    For 'tidegate up':      tidegate dashboards monitoring

    It prints two commands, which start both on this machine's loopback. Grafana's password is made once, in
    DIR/grafana/password. Run it again after an update.
    """
    jobs = configuration.container_scrapes() if containers else configuration.scrapes(data or default_data())
    host = "prometheus" if containers else "127.0.0.1"
    configuration.write(folder, jobs, url=f"http://{host}:9090")
    if not containers:
        echo(next_commands(folder.resolve()))


def next_commands(folder: Path) -> str:
    """Return what starts both. Prometheus deletes its oldest values beyond 5 GB."""
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus"]
    options += ["--storage.tsdb.retention.size=5GB", "--web.listen-address=127.0.0.1:9090"]
    server = ["grafana", "server", "--homepath=/usr/share/grafana", f"--config={folder}/grafana/grafana.ini"]
    return (
        f"written to {folder}; start each in a terminal of its own:\n\n"
        f"  {shlex.join(['prometheus', *options])}\n\n"
        f"  {shlex.join(server)}\n\n"
        f"then open http://127.0.0.1:3000: user {configuration.USER}, password in {folder}/grafana/password"
    )

"""`tidegate model list`: the measured models, and the active one."""

from __future__ import annotations

from pathlib import Path

import click

from shared.models import measured
from tidegate.commands.options import data_option, screen
from tidegate.local.running import default_data
from tidegate.models import store
from tidegate.view import records
from tidegate.view.inert import echo_json

_FIELDS = ("name", "", *map(records.Right, ("segments/s", "cameras", "fps")), "measured", "model")


@click.command("list")
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model.")
def list_models(data: Path | None, as_json: bool) -> None:
    """List the models that 'tidegate model add' has measured."""
    home = data or default_data()
    folder = store.folder(home)
    active = measured.active_name(folder)
    found = measured.stored(folder)
    if as_json:
        for model in found:
            echo_json({"active": model.name == active, "model": model})
        return
    rows = [
        (
            model.name,
            "active" if model.name == active else "",
            f"{model.service_rate:g}",
            f"{model.cameras}",
            f"{model.fps:g}",
            f"{model.added.astimezone():%Y-%m-%d %H:%M}",
            model.spec,
        )
        for model in found
    ]
    records.show(screen(), _FIELDS, rows, "no models: tidegate model add yolo11n.onnx")

"""`tidegate model use`: the detector that `tidegate up` runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from shared.models import measured
from shared.runtime.errors import SettingError
from shared.runtime.settings import value_of
from tidegate.commands.options import data_option
from tidegate.local.running import default_data
from tidegate.models import store
from tidegate.view.inert import echo


@click.command()
@data_option
@click.argument("name", required=False)
@click.option("--default", "is_default", is_flag=True, help="Go back to the settings without a measured model.")
def use(data: Path | None, name: str | None, is_default: bool) -> None:
    """Make a measured model the one that 'tidegate up' runs, with its settings.

    \b
    Run a model:            tidegate model use yard
    Go back:                tidegate model use --default

    A running 'tidegate up' takes it at its next start. CV_MODEL in the environment has priority.
    """
    if (name is None) != is_default:
        raise SettingError("give the name of a model, or --default")
    folder = store.folder(data or default_data())
    if name:
        changed = measured.find(folder, name).changed
        if changed:
            raise SettingError(changed)
    measured.use(folder, name)
    echo(f"active: {name or 'the default'}; 'tidegate up' takes it at its next start")
    if own := value_of("CV_MODEL", os.environ):
        echo(f"CV_MODEL={own} is set here, and has priority")

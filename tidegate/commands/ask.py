"""`tidegate ask`: a question about a camera's video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tidegate.commands.options import screen, stretch_options, with_admin


@click.command()
@stretch_options
@click.argument("question")
@click.option("--save", type=click.Path(path_type=Path, file_okay=False), help="Put what the model saw in this folder.")
def ask(data: Path | None, question: str, save: Path | None, as_json: bool, **given: Any) -> None:
    """Ask a vision language model QUESTION about a camera's video, by default of the last minute.

    
    What happens now:       tidegate ask "is anybody at the door?" --camera door
    What happened then:     tidegate ask "what did the van bring?" --camera yard --since 13:05 --until 13:10
    What it rests on:       tidegate ask "is the gate open?" --camera gate --save seen/

    It needs 'tidegate up --vlm'. Video is there for as long as MEDIA keeps it, ten minutes by default.
    """
    from tidegate.client import ask as asking

    query = asking.query("ask", given, question=question)
    with_admin(data, lambda client: asking.run(client, query, screen(), as_json=as_json, save=save))

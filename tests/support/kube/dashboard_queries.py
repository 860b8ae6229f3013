"""The queries in the dashboard files of `deploy/observability`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from tools.dashboards.__main__ import FOLDER, PAGES

# Values of a dashboard's variables, as Grafana would insert them.
FILLED = {"$namespace": "tidegate", "$price": "3", "$__rate_interval": "1m", "$__range": "6h"}


def queries(page: str, filled: Mapping[str, str] = FILLED) -> Iterator[tuple[str, str]]:
    """(query, legend) of each graph in the file. filled: the values of variables."""
    for panel in json.loads((FOLDER / f"{page}.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for variable, value in filled.items():
                query = query.replace(variable, value)
            yield query, target.get("legendFormat", "")


NAMES = [page.name for page in PAGES]

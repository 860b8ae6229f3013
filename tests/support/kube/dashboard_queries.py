"""The queries of the dashboards of `deploy/observability`, as their files hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tools.dashboards.__main__ import FOLDER, PAGES

# The variables of a dashboard, as Grafana would fill them in.
FILLED = {"$namespace": "tidegate", "$price": "3", "$__rate_interval": "1m", "$__range": "6h"}


def queries(page: str) -> Iterator[tuple[str, str]]:
    """(query, legend) of each graph, as they are in the file."""
    for panel in json.loads((FOLDER / f"{page}.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for variable, value in FILLED.items():
                query = query.replace(variable, value)
            yield query, target.get("legendFormat", "")


NAMES = [page.name for page in PAGES]

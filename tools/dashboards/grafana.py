"""A page as Grafana's JSON, by Grafana's SDK: graphs side by side, below variables that all pages share."""

from __future__ import annotations

import json

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableOption, VariableRefresh

from tools.dashboards.page import Graph, Page

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_TAG = "tidegate"
# Widths in Grafana's 24 columns.
_NUMBER, _WIDE = 4, 12


def encode(page: Page) -> str:
    """Return the content of a page's file."""
    built = dashboard.Dashboard(page.title).uid(f"tidegate-{page.name}").tags([_TAG]).readonly()
    built.time("now-6h", "now").refresh("1m").tooltip(DashboardCursorSync.CROSSHAIR).timezone("browser")
    built.link(dashboard.DashboardLink("Tidegate").tags([_TAG]).as_dropdown(True).keep_time(True).include_vars(True))
    built.with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    namespaces = (
        dashboard.QueryVariable("namespace").datasource(_SOURCE).query("label_values(tidegate_ready, namespace)")
    )
    chosen = VariableOption(text="tidegate", value="tidegate")
    built.with_variable(namespaces.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).current(chosen))
    if page.priced:
        price = dashboard.TextBoxVariable("price").label("price of a GPU hour").default_value("1")
        built.with_variable(price.current(VariableOption(text="1", value="1")))
    for row in page.rows:
        built.with_row(dashboard.Row(row.title))
        for graph in row.graphs:
            built.with_panel(_number(graph) if graph.number else _lines(graph))
    found = json.loads(JSONEncoder().encode(built.build()))
    for variable in found["templating"]["list"]:
        # The SDK writes these fields for every variable; Grafana's own types do not have them.
        for name in ("auto", "auto_count", "auto_min"):
            variable.pop(name, None)
    return json.dumps(found, sort_keys=True, indent=1) + "\n"


def _lines(graph: Graph) -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    panel = timeseries.Panel().title(graph.title).description(graph.says).unit(graph.unit).min(0)
    panel.datasource(_SOURCE).span(_WIDE).height(7).legend(legend.show_legend(True)).fill_opacity(8)
    for i, query in enumerate(graph.queries):
        panel.with_target(_query(query.expr, i).legend_format(query.legend).range())
    return panel


def _number(graph: Graph) -> stat.Panel:
    panel = stat.Panel().title(graph.title).description(graph.says).unit(graph.unit)
    panel.datasource(_SOURCE).span(_NUMBER).height(4).graph_mode(BigValueGraphMode.NONE)
    for i, query in enumerate(graph.queries):
        panel.with_target(_query(query.expr, i).legend_format(query.legend).instant())
    return panel


def _query(expr: str, i: int) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).ref_id(chr(ord("A") + i)).datasource(_SOURCE)

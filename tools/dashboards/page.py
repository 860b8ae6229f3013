"""A page as data: rows of graphs, and the queries of each. Pure.

A query says `$namespace` where it selects ours, and `$__rate_interval` where it needs a time.
"""

from __future__ import annotations

from typing import Literal

import msgspec

# As Grafana calls them: seconds, a share of 1, bytes, bytes a second, a number, money without a currency.
Unit = Literal["s", "percentunit", "bytes", "Bps", "short", "none"]


class Query(msgspec.Struct, frozen=True):
    """A PromQL query. legend: the name of a series, with {{label}} for the value of a label."""

    expr: str
    legend: str


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """A graph over time; `number` shows only the last value. says: the explanation that Grafana shows with it."""

    title: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    says: str = ""
    number: bool = False


class Row(msgspec.Struct, frozen=True):
    title: str
    graphs: tuple[Graph, ...]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A dashboard. name: of its file and in its URL. priced: whether it has a variable `$price` for a GPU hour."""

    name: str
    title: str
    rows: tuple[Row, ...]
    priced: bool = False


def graph(title: str, *queries: tuple[str, str], unit: Unit = "short", says: str = "", number: bool = False) -> Graph:
    """Return a graph of these (query, legend) pairs."""
    return Graph(title=title, queries=tuple(Query(*q) for q in queries), unit=unit, says=says, number=number)


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Return a counter's rate, summed over pods; by: the labels to keep."""
    by_clause = f" by ({by})" if by else ""
    return f'sum{by_clause} (rate({metric}{{namespace="$namespace"{_and(where)}}}[$__rate_interval]))'


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    """Return a quantile of a histogram over all pods."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels, where)})"


def gauge(metric: str, how: str = "max", by: str = "", where: str = "") -> str:
    """Return a gauge over all pods. how: the PromQL aggregation of the pods' values."""
    by_clause = f" by ({by})" if by else ""
    return f'{how}{by_clause} ({metric}{{namespace="$namespace"{_and(where)}}})'


def _and(where: str) -> str:
    return f", {where}" if where else ""

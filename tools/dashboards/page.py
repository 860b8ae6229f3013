"""A page as data: rows of graphs, and the queries of each. Pure.

A query says `$namespace` where it selects ours, and `$__rate_interval` where it needs a time.
"""

from __future__ import annotations

from typing import Literal

import msgspec

# As Grafana calls them: seconds, a share of 1, bytes, bytes a second, a number, money without a currency.
Unit = Literal["s", "percentunit", "bytes", "Bps", "short", "none"]


class Query(msgspec.Struct, frozen=True):
    """legend: what a series is called, with {{label}} for the value of a label."""

    expr: str
    legend: str


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """A graph over time; `number` shows the last value alone. says: what it tells, for who does not know."""

    title: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    says: str = ""
    number: bool = False


class Row(msgspec.Struct, frozen=True):
    title: str
    graphs: tuple[Graph, ...]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """name: of its file and in its address. priced: whether it asks for the price of a GPU hour, as `$price`."""

    name: str
    title: str
    rows: tuple[Row, ...]
    priced: bool = False


def graph(title: str, *queries: tuple[str, str], unit: Unit = "short", says: str = "", number: bool = False) -> Graph:
    """A graph of (query, legend) each."""
    return Graph(title=title, queries=tuple(Query(*q) for q in queries), unit=unit, says=says, number=number)


def rate(metric: str, by: str = "", where: str = "") -> str:
    """A counter's rate, added up over pods; by: the labels that stay."""
    kept = f" by ({by})" if by else ""
    return f'sum{kept} (rate({metric}{{namespace="$namespace"{_and(where)}}}[$__rate_interval]))'


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    """Of a histogram, over all pods."""
    kept = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', kept, where)})"


def gauge(metric: str, how: str = "max", by: str = "", where: str = "") -> str:
    """how: by which the values of pods become one."""
    kept = f" by ({by})" if by else ""
    return f'{how}{kept} ({metric}{{namespace="$namespace"{_and(where)}}})'


def _and(where: str) -> str:
    return f", {where}" if where else ""

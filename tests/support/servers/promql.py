"""The metrics and labels that a query of Prometheus reads. promtool checks its syntax."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from shared.runtime.pages.former_metrics import FORMER
from tests.support.servers.foreign_metrics import FOREIGN, OF_TARGETS
from tools.reference import metrics

_LISTS = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\(|\{[^}]*\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
# label_replace and label_join create a label.
_COMPOSED = re.compile(r'"(\w+)", "[^"]*", "[^"]*", "[^"]*"\s*\)')
_TEXT = re.compile(r'"[^"]*"')
_DURATION = re.compile(r"\[[^\]]*\]|\boffset \w+|\b\d[\w.]*")
_WORDS = {"and", "or", "unless", "bool"}


def promtool() -> str:
    """The path of promtool. Skips if it is not installed."""
    if not (found := shutil.which("promtool")):
        pytest.skip("promtool is not installed: apt-get install promtool")
    return found


def checked(folder: Path, queries: list[str]) -> None:
    """Check by promtool that each is a query of Prometheus. Raises AssertionError with its output."""
    rules = [{"record": f"query:{i}", "expr": query} for i, query in enumerate(queries)]
    file = folder / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run([promtool(), "check", "rules", file], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and f"SUCCESS: {len(rules)} rules found" in done.stdout, done.stdout + done.stderr


@functools.cache
def metric_labels() -> dict[str, frozenset[str]]:
    """The labels of each existing series: ours, read from the code, and foreign ones."""
    found = dict(FOREIGN)
    for name, kind, labels in metrics.exported():
        of_it = frozenset(labels) | OF_TARGETS
        if kind == "histogram":
            found |= {f"{name}_bucket": of_it | {"le"}, f"{name}_sum": of_it, f"{name}_count": of_it}
        else:
            found[name] = of_it
    # Stored series have these names from before an upgrade.
    found |= {former: found[name] for former, name in FORMER.items()}
    return {name: labels | OF_TARGETS if name[:3] in ("up", "jet", "gna") else labels for name, labels in found.items()}


def selected(query: str) -> dict[str, set[str]]:
    """The metrics that it reads, with the labels that its selectors name."""
    found: dict[str, set[str]] = {}
    for name, then in _SELECTOR.findall(_DURATION.sub(" ", _outside_of_texts(_LISTS.sub(" ", query)))):
        if then != "(" and name not in _WORDS:
            found.setdefault(name, set()).update(_MATCHER.findall(then))
    return found


def grouping_labels(query: str) -> set[str]:
    """The labels by which it groups or joins."""
    return {label.strip() for found in _LISTS.findall(query) for label in found.split(",") if label.strip()}


def _outside_of_texts(query: str) -> str:
    """The query with empty strings."""
    return _TEXT.sub('""', query)


def strangers(query: str, shown: str = "") -> list[str]:
    """The names that it reads and that do not exist. shown: a template with it, such as a legend with {{label}}."""
    read = selected(query)
    wrong = [f"no metric {name}" for name in read if name not in metric_labels()]
    labels = set().union(*(metric_labels().get(name, frozenset()) for name in read), _COMPOSED.findall(query))
    wrong += [
        f"{name} has no label {label}" for name, of in read.items() for label in of - metric_labels().get(name, of)
    ]
    text = set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}|\$labels\.(\w+)", shown))
    named = grouping_labels(query) | {one or other for one, other in text} - {"end"}
    return wrong + [f"no metric in it has a label {label}" for label in sorted(named - labels)]

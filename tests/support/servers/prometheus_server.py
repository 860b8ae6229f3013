"""A real Prometheus that scrapes a test's targets and evaluates our alerts."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from shared.runtime import child
from shared.runtime.ports import free_port
from tests.support.kube.alert_rules import RULES
from tests.support.waiting import patience_s


class Prometheus:
    """Prometheus with our alerts, which fire immediately, and the target discovery of `tidegate up`."""

    def __init__(self, folder: Path, *scrapes: dict[str, Any]) -> None:
        self._folder, self.url = folder, f"http://127.0.0.1:{free_port(0)}"
        rules = json.loads(json.dumps(RULES))
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config = {"global": often, "rule_files": ["rules.yaml"], "scrape_configs": list(scrapes)}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))

    async def __aenter__(self) -> Prometheus:
        command = ["prometheus", f"--config.file={self._folder}/prometheus.yaml"]
        command += [f"--storage.tsdb.path={self._folder}/tsdb", f"--web.listen-address={self.url[7:]}"]
        self._process = child.spawn(command, log=self._folder / "prometheus.log")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: object, trace: TracebackType | None) -> None:
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, patience_s())

    def query(self, path: str, **arguments: str) -> Any:
        """The answer of its API; nothing while it starts."""
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}") as answer:
                return json.load(answer)["data"]
        except (urllib.error.URLError, ConnectionError):
            return {}

    def up(self) -> set[str]:
        found = self.query("query", query="up == 1").get("result", [])
        return {each["metric"]["component"] for each in found}

    def firing(self) -> dict[str, dict[str, str]]:
        """The firing alerts, with their labels."""
        return {a["labels"]["alertname"]: a["labels"] for a in self.query("alerts").get("alerts", [])}

    def evaluated(self) -> list[dict[str, Any]]:
        return [rule for group in self.query("rules").get("groups", []) for rule in group["rules"]]

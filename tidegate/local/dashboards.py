"""The configuration of a Prometheus and a Grafana on one machine, with our alerts and dashboards.

    write(folder, scrapes(data), url="http://127.0.0.1:9090")

In a cluster the Prometheus operator and Grafana's sidecar read the same files of `deploy/observability`.
"""

from __future__ import annotations

import secrets
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from shared.contract import catalog
from shared.runtime.pages.monitoring import NAMESPACE
from shared.runtime.private_file import write_private

# The alert for processes that do not answer reads jobs of this form.
JOB = f"{NAMESPACE}/tidegate-up"
EVERY = "5s"
# Grafana's user, whose password is made.
USER = "tidegate"
# The port of every page, and of NATS' exporter, in containers.
PAGE, EXPORTER = 9102, 7777


def shipped(name: str) -> Path:
    """Return a file of `deploy/observability`: in the package for a wheel, next to it for a checkout."""
    package = Path(str(resources.files("tidegate")))
    folder = package / "deploy" / "observability"
    return (folder if folder.is_dir() else package.parent / "deploy" / "observability") / name


def scrapes(data: Path) -> list[dict[str, Any]]:
    """Return the scrape job of `tidegate up`, whose processes announce themselves in files."""
    files = [{"files": [f"{data.resolve()}/metrics/*.json"], "refresh_interval": EVERY}]
    # Some metrics have a label `service` of their own.
    return [{"job_name": JOB, "honor_labels": True, "file_sd_configs": files}]


def container_scrapes() -> list[dict[str, Any]]:
    """Return the scrape jobs of compose.yaml: every service, however many containers it has, and NATS' exporter."""
    names = [service.name for service in catalog.SERVICES]
    labels = [
        {"source_labels": ["__meta_dns_name"], "target_label": "component"},
        {"source_labels": ["__address__"], "target_label": "pod"},
        {"target_label": "namespace", "replacement": NAMESPACE},
    ]

    def job(name: str, hosts: list[str], port: int) -> dict[str, Any]:
        found = [{"names": hosts, "type": "A", "port": port}]
        return {"job_name": f"{NAMESPACE}/tidegate-{name}", "dns_sd_configs": found, "relabel_configs": labels}

    return [job("compose", names, PAGE), job("nats", ["nats"], EXPORTER)]


def write(folder: Path, jobs: list[dict[str, Any]], *, url: str) -> None:
    """Write `prometheus.yml`, `rules.yml` and `grafana/`, with a password at the first time. Raises OSError.

    url: of that Prometheus, for Grafana.
    """
    rules = yaml.safe_load(shipped("rules.yaml").read_text())["spec"]
    often = {"scrape_interval": EVERY, "evaluation_interval": "15s"}
    _write(folder / "prometheus.yml", {"global": often, "rule_files": ["rules.yml"], "scrape_configs": jobs})
    _write(folder / "rules.yml", rules)
    grafana = folder.resolve() / "grafana"
    source = {"name": "Prometheus", "uid": "tidegate", "type": "prometheus", "url": url, "isDefault": True}
    _write(grafana / "provisioning/datasources/tidegate.yml", {"apiVersion": 1, "datasources": [source]})
    _put(grafana / "grafana.ini", _ini(grafana))
    found = {"name": "Tidegate", "folder": "Tidegate", "type": "file", "options": {"path": str(grafana / "dashboards")}}
    _write(grafana / "provisioning/dashboards/tidegate.yml", {"apiVersion": 1, "providers": [found]})
    for page in sorted(shipped("dashboards").glob("*.json")):
        _put(grafana / "dashboards" / page.name, page.read_text())
    if not (grafana / "password").exists():
        write_private(grafana / "password", secrets.token_urlsafe(24))


def _ini(grafana: Path) -> str:
    """Return Grafana's own configuration: loopback alone, its password from a file, and no call to its maker."""
    return f"""[server]
http_addr = 127.0.0.1

[paths]
data = {grafana}/data
logs = {grafana}/data/log
plugins = {grafana}/data/plugins
provisioning = {grafana}/provisioning

[security]
admin_user = {USER}
admin_password = $__file{{{grafana}/password}}
disable_gravatar = true

[analytics]
reporting_enabled = false
check_for_updates = false
check_for_plugin_updates = false

[plugins]
preinstall_disabled = true
"""


def _write(path: Path, content: dict[str, Any]) -> None:
    _put(path, yaml.safe_dump(content, sort_keys=False, width=120))


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

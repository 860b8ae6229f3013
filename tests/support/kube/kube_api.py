"""A page that answers as a Kubernetes API server does, for `kubectl`: discovery, lists, objects, server-side apply.

    with KubeApi(tmp_path) as api:
        api.environment                     # KUBECONFIG, for a process
        api.put({"kind": "Pod", ...})       # as a controller would, status and all
        api.pages["/api/v1/…/proxy/jsz"] = answer

It stores what is applied and checks it by the schemas of Kubernetes; nothing acts on it. Secrets are listed as a table,
as kubectl asks for one; `listed_secrets` has each Secret that left the page whole.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import yaml

Document = dict[str, Any]
VERSION = "v1.34.1"


class Kind(NamedTuple):
    group: str
    version: str
    plural: str
    namespaced: bool = True


KINDS = {
    "Namespace": Kind("", "v1", "namespaces", namespaced=False),
    "Node": Kind("", "v1", "nodes", namespaced=False),
    "Pod": Kind("", "v1", "pods"),
    "Service": Kind("", "v1", "services"),
    "ConfigMap": Kind("", "v1", "configmaps"),
    "Secret": Kind("", "v1", "secrets"),
    "ServiceAccount": Kind("", "v1", "serviceaccounts"),
    "PersistentVolumeClaim": Kind("", "v1", "persistentvolumeclaims"),
    "Deployment": Kind("apps", "v1", "deployments"),
    "StatefulSet": Kind("apps", "v1", "statefulsets"),
    "Job": Kind("batch", "v1", "jobs"),
    "NetworkPolicy": Kind("networking.k8s.io", "v1", "networkpolicies"),
    "PodDisruptionBudget": Kind("policy", "v1", "poddisruptionbudgets"),
    "PriorityClass": Kind("scheduling.k8s.io", "v1", "priorityclasses", namespaced=False),
    "HorizontalPodAutoscaler": Kind("autoscaling", "v2", "horizontalpodautoscalers"),
    "CustomResourceDefinition": Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False),
    "APIService": Kind("apiregistration.k8s.io", "v1", "apiservices", namespaced=False),
    "ScaledObject": Kind("keda.sh", "v1alpha1", "scaledobjects"),
    "TriggerAuthentication": Kind("keda.sh", "v1alpha1", "triggerauthentications"),
}
Check = Callable[[Document], str | None]


class KubeApi:
    """check: returns the schema's error for an applied object; None if it is valid.

    refuses: kinds that no client may list. lacks: kinds that this server does not know.
    """

    def __init__(self, folder: Path, check: Check = lambda _: None) -> None:
        self.objects: dict[tuple[str, str, str], Document] = {}
        self.pages: dict[str, Any] = {}
        self.refuses: set[str] = set()
        self.lacks: set[str] = set()
        self.version = VERSION
        self.listed_secrets: list[str] = []
        self.check = check
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._config = folder / "kubeconfig"

    def __enter__(self) -> KubeApi:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        context = {"name": "page", "context": {"cluster": "page", "user": "page"}}
        cluster = {"name": "page", "cluster": {"server": self.url}}
        self._config.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "page",
                    "contexts": [context],
                    "clusters": [cluster],
                    "users": [{"name": "page", "user": {}}],
                }
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self._config), "KUBECACHEDIR": str(self._config.parent / "cache")}

    def put(self, document: Document) -> None:
        kind, meta = document["kind"], document["metadata"]
        namespace = meta.get("namespace", "default") if KINDS[kind].namespaced else ""
        self.objects[(kind, namespace, meta["name"])] = document

    def get(self, kind: str, name: str, namespace: str = "tidegate") -> Document:
        return self.objects[(kind, namespace if KINDS[kind].namespaced else "", name)]

    def all(self, kind: str) -> list[Document]:
        return [d for (k, _, _), d in self.objects.items() if k == kind]

    def drop(self, kind: str, name: str, namespace: str = "tidegate") -> None:
        del self.objects[(kind, namespace if KINDS[kind].namespaced else "", name)]

    def clone(self, other: KubeApi) -> None:
        """Copy the content of another page."""
        self.objects = copy.deepcopy(other.objects)
        self.pages = copy.deepcopy(other.pages)


class _Refusal(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        self.status |= {"code": code, "reason": reason, "message": message}  # type: ignore[dict-item]
        self.code = code


def _handler(api: KubeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _send(self, code: int, body: Any) -> None:
            raw = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def _answer(self, act: Callable[[str, dict[str, list[str]]], Any]) -> None:
            at = urlsplit(self.path)
            try:
                self._send(200, act(at.path.rstrip("/"), parse_qs(at.query)))
            except _Refusal as e:
                self._send(e.code, e.status)

        def do_GET(self) -> None:
            self._answer(lambda path, query: _got(api, path, query, "as=Table" in self.headers.get("Accept", "")))

        def do_PATCH(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Type") != "application/apply-patch+yaml":
                self._send(415, _Refusal(415, "UnsupportedMediaType", "only server-side apply").status)
                return
            self._answer(lambda path, _: _applied(api, path, yaml.safe_load(body)))

    return Handler


def _got(api: KubeApi, path: str, query: dict[str, list[str]], as_table: bool) -> Any:
    selected = f"{path}?{','.join(query.get('labelSelector', []))}"
    if path in api.pages or selected in api.pages:
        page = api.pages.get(selected, api.pages.get(path))
        page = page() if callable(page) else page
        if isinstance(page, str):
            raise _Refusal(503, "ServiceUnavailable", page)
        return page
    if path == "/version":
        major, minor = api.version.removeprefix("v").split(".")[:2]
        return {"major": major, "minor": minor, "gitVersion": api.version, "platform": "linux/amd64"}
    if path in ("/api", "/apis"):
        return _groups(api, path)
    if path.startswith("/openapi/v3"):
        return _operations(api, path.removeprefix("/openapi/v3"))
    found = _at(path)
    if found is None:
        existing = [n for n, k in KINDS.items() if path == _base(k) and n not in api.lacks]
        if existing:
            return _resources(path, existing)
        raise _Refusal(404, "NotFound", "the server could not find the requested resource")
    kind, namespace, name = found
    if kind in api.lacks:
        raise _Refusal(404, "NotFound", "the server could not find the requested resource")
    if kind in api.refuses:
        what = KINDS[kind].plural
        raise _Refusal(403, "Forbidden", f'{what} is forbidden: User "me" cannot list resource "{what}"')
    if name:
        if (kind, namespace, name) not in api.objects:
            raise _Refusal(404, "NotFound", f'{KINDS[kind].plural} "{name}" not found')
        return api.objects[(kind, namespace, name)]
    chosen = [d for (k, n, _), d in sorted(api.objects.items()) if k == kind and namespace in ("", n)]
    for selector in query.get("labelSelector", []):
        key, _, value = selector.partition("=")
        chosen = [d for d in chosen if (d["metadata"].get("labels") or {}).get(key) == value]
    if kind == "Secret":
        if as_table:
            return _table(chosen)
        api.listed_secrets += [d["metadata"]["name"] for d in chosen]
    group = f"{KINDS[kind].group}/" if KINDS[kind].group else ""
    # The items of a list do not have their kind: kubectl writes it into them.
    items = [{k: v for k, v in d.items() if k not in ("kind", "apiVersion")} for d in chosen]
    return {"kind": f"{kind}List", "apiVersion": f"{group}{KINDS[kind].version}", "metadata": {}, "items": items}


def _table(secrets: list[Document]) -> Document:
    columns = [{"name": n, "type": "string", "format": "", "description": "", "priority": 0} for n in ("Name", "Data")]
    rows = [
        {
            "cells": [d["metadata"]["name"], len(d.get("data") or {})],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": d["metadata"]},
        }
        for d in secrets
    ]
    return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns, "rows": rows}


def _applied(api: KubeApi, path: str, document: Document) -> Document:
    found = _at(path)
    if found is None or found[0] in api.lacks:
        raise _Refusal(404, "NotFound", "the server could not find the requested resource")
    kind, namespace, name = found
    if namespace and ("Namespace", "", namespace) not in api.objects:
        raise _Refusal(404, "NotFound", f'namespaces "{namespace}" not found')
    if problem := api.check(document):
        raise _Refusal(422, "Invalid", problem)
    before = api.objects.get((kind, namespace, name), {})
    stored = {**document, **({"status": before["status"]} if "status" in before else {})}
    stored["metadata"] = {**document["metadata"], **({"namespace": namespace} if namespace else {})}
    api.put(stored)
    return stored


def _base(kind: Kind) -> str:
    return f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"


def _at(path: str) -> tuple[str, str, str] | None:
    """The (kind, namespace, name) of a path."""
    for name, kind in KINDS.items():
        base = _base(kind) + "/"
        if not path.startswith(base):
            continue
        parts = path.removeprefix(base).split("/")
        if parts[0] == kind.plural and len(parts) <= 2:
            # Without a namespace it is a list of all, or one of the whole cluster.
            return name, "", parts[1] if len(parts) == 2 else ""
        if parts[0] == "namespaces" and len(parts) in (3, 4) and parts[2] == kind.plural:
            return name, parts[1], parts[3] if len(parts) == 4 else ""
    return None


def _groups(api: KubeApi, path: str) -> Document:
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    groups = {k.group: k.version for n, k in KINDS.items() if k.group and n not in api.lacks}
    created = []
    for group, version in groups.items():
        each = {"groupVersion": f"{group}/{version}", "version": version}
        created.append({"name": group, "versions": [each], "preferredVersion": each})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": created}


def _operations(api: KubeApi, path: str) -> Document:
    """Announce the validation by the server, where kubectl looks for it."""
    existing = {n: k for n, k in KINDS.items() if n not in api.lacks}
    if not path:
        return {
            "paths": {_base(k).strip("/"): {"serverRelativeURL": f"/openapi/v3{_base(k)}"} for k in existing.values()}
        }
    parameters = [{"name": n, "in": "query", "schema": {"type": "string"}} for n in ("fieldValidation", "dryRun")]
    paths = {}
    for name, kind in existing.items():
        if _base(kind) == path:
            gvk = {"group": kind.group, "version": kind.version, "kind": name}
            patch = {"parameters": parameters, "responses": {}, "x-kubernetes-group-version-kind": gvk}
            paths[f"{path}/{kind.plural}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": api.version}, "paths": paths}


def _resources(path: str, existing: list[str]) -> Document:
    resources = [
        {
            "name": KINDS[n].plural,
            "singularName": n.lower(),
            "namespaced": KINDS[n].namespaced,
            "kind": n,
            "verbs": ["get", "list", "patch", "create", "delete"],
        }
        for n in existing
    ]
    version = path.removeprefix("/api/").removeprefix("/apis/")
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}

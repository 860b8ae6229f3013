"""Queries a cluster through `kubectl`, which has the user's access: context, login, proxy. It changes nothing there.

Example:
    kubectl = Kubectl(context="")
    kubectl.objects("pods,nodes", namespace="tidegate")      # their JSON; raises NoAnswer
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from shared.runtime.errors import TidegateError
from shared.runtime.redact import redact

TIMEOUT_S = 10.0
MOST_MESSAGE = 300

Document = dict[str, Any]


class NoAnswer(TidegateError):
    """A query without an answer: kubectl's message, in one line."""


class Kubectl:
    """context: of the kubeconfig; empty for the current one. timeout_s: of one query to the API server."""

    def __init__(self, context: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self._more = [*([f"--context={context}"] if context else []), f"--request-timeout={timeout_s:g}s"]
        self._limit_s = 2 * timeout_s

    @staticmethod
    def is_there() -> bool:
        return shutil.which("kubectl") is not None

    def objects(self, kinds: str, namespace: str = "", selector: str = "") -> list[Document]:
        """Return all of these kinds in a namespace, or cluster-wide, with the times of their changes.

        Raises NoAnswer if one may not be listed.
        """
        where = [f"--namespace={namespace}"] if namespace else ["--all-namespaces"]
        where += [f"--selector={selector}"] if selector else []
        found = self._run("get", kinds, "--output=json", "--show-managed-fields", *where)
        return list(_read(found).get("items") or [])

    def object(self, kind: str, name: str) -> Document:
        """Return one object of the whole cluster."""
        return _read(self._run("get", kind, name, "--output=json"))

    def names(self, kind: str, namespace: str) -> list[str]:
        """Return their names alone: the server makes the table, so a Secret's content never leaves it."""
        listed = self._run("get", kind, "--no-headers", f"--namespace={namespace}")
        return [line.split()[0] for line in listed.splitlines() if line.strip()]

    def page(self, path: str) -> Document:
        """Return a JSON page of the API server, or of a proxied server."""
        return _read(self._run("get", "--raw", path))

    def version(self) -> Document:
        return _read(self._run("version", "--output=json"))

    def built(self, folder: Path) -> str:
        """Return what `kubectl apply -k FOLDER` would apply, as YAML, without a cluster."""
        return self._run("kustomize", str(folder))

    def _run(self, *arguments: str) -> str:
        try:
            # Without standard input: an interactive login fails immediately, and its message is shown.
            done = subprocess.run(
                ["kubectl", *arguments, *self._more],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self._limit_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise NoAnswer(f"kubectl does not answer: {redact(str(e))}") from None
        if done.returncode:
            raise NoAnswer(_last_line(done.stderr.splitlines()))
        return done.stdout


def _last_line(lines: Sequence[str]) -> str:
    """Return its last non-empty line; warnings and discovery attempts come before it."""
    texts = [line.strip() for line in lines if line.strip()]
    return redact(texts[-1])[:MOST_MESSAGE] if texts else "kubectl failed, and does not say why"


def _read(text: str) -> Document:
    try:
        found = json.loads(text)
    except ValueError:
        raise NoAnswer("what answers is no API server: it sends no JSON") from None
    if not isinstance(found, dict):
        raise NoAnswer("what answers is no API server: it sends no object")
    return found


def by_kind(documents: Iterable[Document]) -> dict[str, dict[str, Document]]:
    """Group documents by kind, then by name."""
    found: dict[str, dict[str, Document]] = {}
    for document in documents:
        name = str((document.get("metadata") or {}).get("name"))
        found.setdefault(str(document.get("kind")), {})[name] = document
    return found

"""Checks that the KEDA of a cluster knows every field of our ScaledObjects.

Example:
    lacking(crd)        # the fields that an API server with these definitions refuses; () if none
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CRD = "scaledobjects.keda.sh"
NEEDS = "KEDA 2.18 or later"
_VERSION = "app.kubernetes.io/version"
_HPA = "advanced", "horizontalPodAutoscalerConfig"

# The newest fields that deploy/keda/ uses, by their path below `spec`, and the first KEDA that knows them.
FIELDS = {
    ("fallback", "behavior"): "2.17",
    (*_HPA, "behavior", "scaleUp", "tolerance"): "2.18",
    (*_HPA, "behavior", "scaleDown", "tolerance"): "2.18",
}


def lacking(crd: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields that a CustomResourceDefinition lacks, from `kubectl get crd -o json`."""
    return tuple(".".join(("spec", *path)) for path in FIELDS if not any(_has(v, path) for v in _served(crd)))


def version(crd: Mapping[str, Any]) -> str:
    """Return KEDA's version by the label that its chart sets; empty if there is none."""
    return str(((crd.get("metadata") or {}).get("labels") or {}).get(_VERSION, ""))


def _served(crd: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [v for v in (crd.get("spec") or {}).get("versions") or [] if v.get("served") and v.get("name") == "v1alpha1"]


def _has(version: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    at: Any = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    for name in ("spec", *path):
        at = (at.get("properties") or {}).get(name)
        if not isinstance(at, Mapping):
            return False
    return True

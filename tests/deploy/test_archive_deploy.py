"""deploy/ray: a RayJob that runs our command, confined as our own pods are."""

from __future__ import annotations

import re
import shlex
from typing import Any

from click.testing import CliRunner

from tests.support.kube.deploy_manifests import DEPLOY, VERSION, documents
from tests.support.paths import ROOT
from tidegate.commands.reanalyze import reanalyze

DOCUMENTS: list[dict[str, Any]] = documents((DEPLOY / "ray/rayjob.yaml").read_text())
JOB, POLICY = DOCUMENTS
SPEC = JOB["spec"]
CLUSTER = SPEC["rayClusterSpec"]
PODS = [
    SPEC["submitterPodTemplate"]["spec"],
    CLUSTER["headGroupSpec"]["template"]["spec"],
    *(group["template"]["spec"] for group in CLUSTER["workerGroupSpecs"]),
]


def test_its_entrypoint_is_a_tidegate_command() -> None:
    command, name, *options = shlex.split(SPEC["entrypoint"])
    assert (command, name) == ("tidegate", "reanalyze")
    assert options[options.index("--ray") + 1] == "auto" and options[options.index("--device") + 1] == "cuda"
    # All options exist, and have valid values.
    with reanalyze.make_context("reanalyze", options) as context:
        assert context.params["store"].startswith("s3://") and context.params["output"].startswith("s3://")
    assert "--resume" in CliRunner().invoke(reanalyze, ["--help"]).output


def test_its_ray_cluster_scales_its_workers_and_ends_with_the_job() -> None:
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert SPEC["shutdownAfterJobFinishes"] and CLUSTER["enableInTreeAutoscaling"]
    (group,) = CLUSTER["workerGroupSpecs"]
    assert 0 == group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    # Otherwise only the initial workers would ever work.
    assert f"--workers {group['maxReplicas']} " in SPEC["entrypoint"]
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_its_pods_have_no_more_rights_than_other_pods() -> None:
    for pod in PODS:
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
        (container,) = pod["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["image"] == f"tidegate-ray:{VERSION}"
        assert "memory" in container["resources"]["limits"]


def test_its_image_has_this_version_and_its_dependencies() -> None:
    recipe = (DEPLOY / "ray/Containerfile").read_text()
    assert f"tidegate-ray:{VERSION}" in recipe
    (extras,) = re.findall(r"\.whl\)\[([a-z,-]+)\]", recipe)
    assert {"archive", "cv-torch", "recorder"} <= set(extras.split(","))
    assert "USER 10001" in recipe
    lock = (ROOT / "requirements/test.txt").read_text()
    (version,) = re.findall(r"^ray==(\S+)", lock, re.MULTILINE)
    assert CLUSTER["rayVersion"] == version and f"ray[data,default]=={version}" in recipe


def test_no_other_pod_reaches_its_ports() -> None:
    """A client of Ray's dashboard can run any code, with access to the bucket's keys."""
    assert POLICY["kind"] == "NetworkPolicy" and POLICY["spec"]["policyTypes"] == ["Ingress"]
    label = POLICY["spec"]["podSelector"]["matchLabels"]
    templates = [
        SPEC["submitterPodTemplate"],
        CLUSTER["headGroupSpec"]["template"],
        *(group["template"] for group in CLUSTER["workerGroupSpecs"]),
    ]
    assert all(template["metadata"]["labels"] == label for template in templates)
    for entry in POLICY["spec"]["ingress"]:
        assert all("podSelector" in one and one["podSelector"]["matchLabels"] for one in entry["from"])

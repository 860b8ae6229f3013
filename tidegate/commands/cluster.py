"""`tidegate cluster`: Secrets for a Kubernetes cluster, and a check of the cluster."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from shared.runtime.errors import SettingError
from tidegate.cluster import secrets, state
from tidegate.cluster.issuing import FOLDER as CERTIFICATES
from tidegate.cluster.kubectl import Kubectl, NoAnswer
from tidegate.cluster.state import Cluster
from tidegate.commands import Group
from tidegate.commands.options import FOLDER, screen
from tidegate.local import tenants
from tidegate.view.inert import echo, echo_json

if TYPE_CHECKING:
    from rich.console import Console

    from tidegate.view.findings import Finding


@click.group(cls=Group)
def cluster() -> None:
    """Prepare a Kubernetes cluster, and check it.

    \b
    Begin:                  tidegate cluster init secrets
                            kubectl apply --server-side -k secrets
                            kubectl apply --server-side -k deploy/kubernetes/overlays/h100/demand
                            tidegate cluster check deploy/kubernetes/overlays/h100/demand
    """


@cluster.command("init")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option(
    "--rotate", multiple=True, metavar="USER", help="User that gets a new password, or 'all'. May be repeated."
)
@click.option(
    "--tls", is_flag=True, help="Create a CA and certificates too, instead of cert-manager. Later runs renew them."
)
def cluster_init(folder: Path, rotate: tuple[str, ...], tls: bool) -> None:
    """Create the Secrets of every identity, and of the servers, in DIR.

    \b
    Begin:                  tidegate cluster init secrets
                            kubectl apply --server-side -k secrets
    With certificates, for the component deploy/kubernetes/tls:
                            tidegate cluster init secrets --tls
    New passwords:          tidegate cluster init secrets --rotate all
    Any run renews certificates that expire soon:
                            tidegate cluster init secrets
                            kubectl apply --server-side -k secrets

    Existing Secrets stay. Another run adds what a new version needs, and renews each certificate with less than a third
    of its year left. 'kubectl apply -k' takes DIR as it is. Store DIR encrypted, or where only you can read it: it
    grants all rights, and with tls/ca.key all identities.
    """
    tenants.check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tenants.changing(folder):
        changes = secrets.write(folder, rotate, tls=tls)
    echo(_with_names(f"{folder}: {len(changes.passwords)} passwords made", changes.passwords))
    if certificates := changes.certificates:
        echo(
            _with_names(f"{folder / CERTIFICATES}: {len(certificates.secrets)} certificates made", certificates.secrets)
        )
        until, renewed = (f"{day:%Y-%m-%d}" for day in (certificates.until, certificates.renewed_from))
        echo(f"certificates are valid until {until}: run this again from {renewed} on, which renews them")
    echo(f"next: kubectl apply --server-side -k {folder}, then an overlay of deploy/kubernetes/overlays")
    echo("each service that KEDA scales begins with one replica, and so with its GPU: deploy/README.md, Apply it")


def _with_names(text: str, names: list[str]) -> str:
    return text + (f" ({', '.join(names)})" if names else "")


@cluster.command("check")
@click.argument("overlay", metavar="[OVERLAY]", type=FOLDER, required=False)
@click.option(
    "--namespace", default=secrets.NAMESPACE, show_default=True, help="Namespace to check; each tenant has its own."
)
@click.option("--context", default="", help="Context of the kubeconfig. Default: the current one.")
@click.option(
    "--monitor",
    multiple=True,
    metavar="URL",
    help="URL of a NATS monitoring port. Default: through the API server. May be repeated.",
)
@click.option(
    "--all", "everything", is_flag=True, help="In a terminal, list the ok lines too, rather than their number."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def cluster_check(
    overlay: Path | None, namespace: str, context: str, monitor: tuple[str, ...], everything: bool, as_json: bool
) -> None:
    """Check a cluster with kubectl, and print remedies. The command changes nothing.

    \b
    All of it:              tidegate cluster check
    And whether an overlay is applied:
                            tidegate cluster check deploy/kubernetes/overlays/h100/demand
    Only the problems:      tidegate cluster check | grep -v ^ok
    For a script:           tidegate cluster check --json

    It checks KEDA and its metrics, triggers, Secrets, the setup Job, NATS with its streams, GPUs, images, pods and
    network policies. The first line is the first to mend: it names what follows from it. Exit code 1 means that
    something is bad, or that the cluster can't be reached. It does not read the values of Secrets.
    """
    from tidegate.cluster import checks
    from tidegate.view.findings import is_well
    from tidegate.view.waiting import waited_for

    if not Kubectl.is_there():
        raise SettingError("kubectl is not installed: the check asks the cluster by it")
    kubectl = Kubectl(context)

    def gather_state() -> Cluster:
        manifests = list(yaml.safe_load_all(kubectl.built(overlay))) if overlay else []
        return state.gather(kubectl, namespace, monitor, [d for d in manifests if d])

    try:
        found = asyncio.run(waited_for(asyncio.to_thread(gather_state), "asking the cluster"))
    except NoAnswer as e:
        raise SettingError(f"{e}. Is kubectl's context the cluster's? kubectl config current-context") from None
    findings = checks.all_of(found)
    _show(findings, screen(), everything=everything, as_json=as_json)
    sys.exit(0 if is_well(findings) else 1)


def _show(findings: Sequence[Finding], out: Console, *, everything: bool, as_json: bool) -> None:
    """Print a line for each finding; in a terminal only the number of those that are ok."""
    from tidegate.view.findings import show

    if as_json:
        for f in findings:
            echo_json({"level": f.level, "what": f.what, "found": f.found, "remedy": f.remedy})
        return
    folds = out.is_terminal and not everything
    shown = [f for f in findings if not folds or f.level != "ok"]
    if shown:
        show(shown, out)
    if folds:
        counts = [sum(f.level == level for f in findings) for level in ("bad", "note", "ok")]
        echo("{} bad, {} to note, {} ok (--all lists them)".format(*counts), file=out.file)

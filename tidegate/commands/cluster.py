"""`tidegate cluster`: the Secrets that a Kubernetes cluster needs, and whether it has all that it needs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec
import yaml

from shared.runtime.errors import SettingError
from tidegate.cluster import secrets, state
from tidegate.cluster.issuing import FOLDER as CERTIFICATES
from tidegate.cluster.kubectl import Kubectl, NoAnswer
from tidegate.cluster.state import Cluster
from tidegate.commands import Group
from tidegate.commands.options import FOLDER, screen
from tidegate.local import tenants
from tidegate.view.inert import echo


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
@click.option("--rotate", multiple=True, metavar="USER", help="Give this user a new password; 'all' for every one.")
@click.option("--tls", is_flag=True, help="Make a CA and certificates too, in place of cert-manager's. Once is enough.")
def cluster_init(folder: Path, rotate: tuple[str, ...], tls: bool) -> None:
    """Make the Secrets of every identity, and of the servers, in DIR.

    \b
    Begin:                  tidegate cluster init secrets
                            kubectl apply --server-side -k secrets
    With certificates, for the component deploy/kubernetes/tls:
                            tidegate cluster init secrets --tls
    New passwords:          tidegate cluster init secrets --rotate all
    Certificates that end soon are renewed by any run:
                            tidegate cluster init secrets
                            kubectl apply --server-side -k secrets

    What is there is kept: running it again makes what a new version needs, and renews each certificate that has less
    than a third of its year left. 'kubectl apply -k' takes DIR as it is. Keep it where only you read it, or encrypted:
    whoever has it may do everything, and with tls/ca.key be everybody.
    """
    tenants.check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tenants.changing(folder):
        made = secrets.write(folder, rotate, tls=tls)
    echo(_told(f"{folder}: {len(made.passwords)} passwords made", made.passwords))
    if signed := made.certificates:
        echo(_told(f"{folder / CERTIFICATES}: {len(signed.secrets)} certificates made", signed.secrets))
        until, renewed = (f"{day:%Y-%m-%d}" for day in (signed.until, signed.renewed_from))
        echo(f"certificates are valid until {until}: run this again from {renewed} on, which renews them")
    echo(f"next: kubectl apply --server-side -k {folder}, then an overlay of deploy/kubernetes/overlays")


def _told(said: str, names: list[str]) -> str:
    return said + (f" ({', '.join(names)})" if names else "")


@cluster.command("check")
@click.argument("overlay", metavar="[OVERLAY]", type=FOLDER, required=False)
@click.option("--namespace", default=secrets.NAMESPACE, show_default=True, help="Check this one: a tenant has its own.")
@click.option("--context", default="", help="Ask this context of the kubeconfig. Default: the current one.")
@click.option(
    "--monitor", multiple=True, metavar="URL", help="Ask NATS' monitoring port there, rather than by the API server."
)
def cluster_check(overlay: Path | None, namespace: str, context: str, monitor: tuple[str, ...]) -> None:
    """Check what a cluster has by kubectl, and say the remedy. It changes nothing.

    \b
    All of it:              tidegate cluster check
    And that all of an overlay was applied:
                            tidegate cluster check deploy/kubernetes/overlays/h100/demand
    What is not well:       tidegate cluster check | grep -v ^ok

    KEDA, Secrets, the Job of setup, NATS with its streams, what KEDA answers, GPUs, images, pods, and who may reach
    whom. It exits with 1 where something keeps Tidegate from working. The values of Secrets are not read.
    """
    from tidegate.cluster import checks
    from tidegate.view.findings import is_well, show
    from tidegate.view.waiting import waited_for

    if not Kubectl.is_there():
        raise SettingError("kubectl is not installed: the check asks the cluster by it")
    kubectl = Kubectl(context)

    def look() -> Cluster:
        wanted = list(yaml.safe_load_all(kubectl.built(overlay))) if overlay else []
        found = state.gather(kubectl, namespace, monitor)
        return msgspec.structs.replace(found, wanted=[d for d in wanted if d])

    try:
        found = asyncio.run(waited_for(asyncio.to_thread(look), "asking the cluster"))
    except NoAnswer as e:
        raise SettingError(f"{e}. Is kubectl's context the cluster's? kubectl config current-context") from None
    findings = checks.all_of(found)
    show(findings, screen())
    sys.exit(0 if is_well(findings) else 1)

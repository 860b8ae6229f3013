"""`tidegate cluster`: what a Kubernetes cluster needs before the manifests of deploy/ are applied."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cluster import secrets
from tidegate.commands import Group
from tidegate.commands.options import FOLDER
from tidegate.local import tenants
from tidegate.view.inert import echo


@click.group(cls=Group)
def cluster() -> None:
    """Prepare a Kubernetes cluster.

    \b
    Begin:                  tidegate cluster init secrets
                            kubectl apply --server-side -k secrets
                            kubectl apply -k deploy/kubernetes/overlays/h100/demand
    """


@cluster.command("init")
@click.argument("folder", metavar="DIR", type=FOLDER)
def cluster_init(folder: Path) -> None:
    """Make the Secrets of every identity, and of the servers, in DIR.

    \b
    Begin:                  tidegate cluster init secrets
                            kubectl apply --server-side -k secrets

    What is there is kept: running it again makes what a new version needs. 'kubectl apply -k' takes DIR as it is. Keep
    it where only you read it, or encrypted: whoever has it may do everything.
    """
    tenants.check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tenants.changing(folder):
        made = secrets.write(folder)
    echo(f"{folder}: {len(made)} passwords made" + (f" ({', '.join(made)})" if made else ""))
    echo(f"next: kubectl apply --server-side -k {folder}, then an overlay of deploy/kubernetes/overlays")

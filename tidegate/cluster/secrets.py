"""The Secrets of a cluster, made from a folder of passwords: what `kubectl apply -k` of that folder gives the cluster.

    made = secrets.write(Path("secrets"), tls=True)     # names of the passwords that are new, and certificates

| Secret | keys | who mounts it |
|---|---|---|
| `tidegate-nats-IDENTITY` | `password`; once rotated `password.msg-id-key` | the pods of that identity, and no other |
| `nats-server` | `accounts.conf`, `routes.conf` | the servers of the component kubernetes/nats |
| those of `certificates`, where asked for | `tls.crt`, `tls.key`, `ca.crt` | the component kubernetes/tls |

In accounts.conf passwords are hashed; by the one in routes.conf the servers know each other.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from shared.contract import catalog, identities, ids
from shared.contract.accounts import Tenant
from shared.runtime.errors import SettingError
from tidegate.cluster import issuing
from tidegate.cluster.certificates import wanted
from tidegate.local import passwords, tenants
from tidegate.local.cluster import ROUTES, SIZE
from tidegate.local.encryption import write_private

NAMESPACE = "tidegate"
ALL = "all"
KUSTOMIZATION = "kustomization.yaml"
# As deploy/kubernetes/base has it: whichever is applied last must not take labels away.
_NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: tidegate
  labels:
    pod-security.kubernetes.io/warn: restricted
    pod-security.kubernetes.io/audit: restricted
"""


class Made(NamedTuple):
    """passwords: whose are new. certificates: None where the folder has none."""

    passwords: list[str]
    certificates: issuing.Made | None


def mounted() -> list[str]:
    """The identities that pods of the cluster connect as."""
    records = [peer for service in catalog.services() for peer in (service, *service.roles)]
    return [identities.ADMIN, *dict.fromkeys(peer.identity for peer in records)]


def write(folder: Path, rotate: Iterable[str] = (), *, tls: bool = False) -> Made:
    """Make the passwords that are missing, and all that follows from them.

    rotate: who gets a new one; `all` for every user. tls: make certificates too; a folder that has some keeps them
    renewed without. The folder is held by `tenants.changing`. Raises SettingError where it can't be read, and for a
    name of nobody.
    """
    tenant = next((t for t in tenants.read(folder, ()) if t.name == Tenant().name), Tenant())
    changed = _rotated(list(tenant.users.values()), list(rotate))
    signed = None
    if tls or issuing.are_in(folder):
        signed = issuing.write(folder, NAMESPACE, dt.datetime.now(dt.UTC))
    tenants.put(folder, tenant)
    users = [*tenant.users.values(), ROUTES]
    for user in changed:
        passwords.discard(folder, user)
    made = [user for user in users if not (folder / user).exists()]
    tenants.write_block(folder)
    write_private(folder / "routes.conf", routes(passwords.kept(folder, [ROUTES])[ROUTES]))
    write_private(folder / "namespace.yaml", _NAMESPACE)
    write_private(folder / KUSTOMIZATION, kustomization(folder, mounted()))
    return Made(made, signed)


def _rotated(users: list[str], named: list[str]) -> list[str]:
    """The servers' own password is none of them: each would have to get it at the same moment."""
    if strange := [name for name in named if name not in (*users, ALL)]:
        raise SettingError(f"--rotate {strange[0]} is no user's name: give {ALL}, or one of {', '.join(users)}")
    return users if ALL in named else named


def routes(password: str, namespace: str = NAMESPACE) -> str:
    """What the block `cluster` of a server's configuration includes."""
    hosts = [f"nats-{n}.nats-headless.{namespace}.svc.cluster.local:6222" for n in range(SIZE)]
    urls = json.dumps([f"nats-route://{ROUTES}:{password}@{host}" for host in hosts])
    return f"authorization {{ user: {ROUTES}, password: {json.dumps(password)}, timeout: 5 }}\nroutes: {urls}\n"


def kustomization(folder: Path, of: Iterable[str]) -> str:
    """The Secrets of these identities, of the servers, and of the certificates, by the names that pods mount."""
    generated = []
    for identity in of:
        keys = [f"password={identity}"]
        if (folder / f"{identity}{ids.KEY_FILE}").exists():
            keys.append(f"password{ids.KEY_FILE}={identity}{ids.KEY_FILE}")
        generated.append(_generated(f"tidegate-nats-{identity}", keys))
    generated.append(_generated("nats-server", ["accounts.conf", "routes.conf"]))
    if issuing.are_in(folder):
        kind = "kubernetes.io/tls"
        generated += [_generated(c.secret, issuing.files(c), kind) for c in wanted(NAMESPACE)]
    return (
        "# Made by `tidegate cluster init`: kubectl apply --server-side -k .\n"
        f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: {NAMESPACE}\n"
        f"resources: [namespace.yaml]\nsecretGenerator:\n{''.join(generated)}"
    )


def _generated(name: str, files: list[str], kind: str = "Opaque") -> str:
    options = "{disableNameSuffixHash: true}"
    return f"  - name: {name}\n    type: {kind}\n    files: [{', '.join(files)}]\n    options: {options}\n"

"""The Secrets of a cluster, generated from a folder of passwords for `kubectl apply -k`.

    written = secrets.write(Path("secrets"), tls=True)     # names of the passwords that are new, and certificates

| Secret | keys | mounted by |
|---|---|---|
| `tidegate-nats-IDENTITY` | `password`; once rotated `password.msg-id-key` | only the pods of that identity |
| `nats-server` | `accounts.conf`, `routes.conf` | the servers of the component kubernetes/nats |
| those of `certificates`, if requested | `tls.crt`, `tls.key`, `ca.crt` | the component kubernetes/tls |

In accounts.conf passwords are hashed; the servers authenticate each other by the one in routes.conf.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from shared.contract import catalog, ids
from shared.contract.rights import identities
from shared.contract.rights.accounts import Tenant
from shared.runtime.errors import SettingError
from shared.runtime.private_file import write_private
from tidegate.cluster import issuing
from tidegate.cluster.certificates import wanted
from tidegate.local import passwords, tenants
from tidegate.local.cluster import ROUTES, SIZE

NAMESPACE = "tidegate"
ALL = "all"
KUSTOMIZATION = "kustomization.yaml"
# The same as in deploy/kubernetes/base: the last one applied must not remove labels.
_NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: tidegate
  labels:
    pod-security.kubernetes.io/warn: restricted
    pod-security.kubernetes.io/audit: restricted
"""


class Written(NamedTuple):
    """passwords: users with new ones. certificates: None if the folder has none."""

    passwords: list[str]
    certificates: issuing.Issued | None


def mounted() -> list[str]:
    """Return the identities of the cluster's pods."""
    records = [peer for service in catalog.services() for peer in (service, *service.roles)]
    return [identities.ADMIN, *dict.fromkeys(peer.identity for peer in records)]


def write(folder: Path, rotate: Iterable[str] = (), *, tls: bool = False) -> Written:
    """Create the missing passwords, and all files that depend on them.

    rotate: users that get a new one; `all` for every user. tls: also issue certificates; a folder with certificates
    renews them in any case. `tenants.changing` locks the folder. Raises SettingError if it can't be read, and for an
    unknown name.
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
    missing = [user for user in users if not (folder / user).exists()]
    tenants.write_block(folder)
    write_private(folder / "routes.conf", routes(passwords.ensure(folder, [ROUTES])[ROUTES]))
    write_private(folder / "namespace.yaml", _NAMESPACE)
    write_private(folder / KUSTOMIZATION, kustomization(folder, mounted()))
    return Written(missing, signed)


def _rotated(users: list[str], named: list[str]) -> list[str]:
    """Exclude the servers' own password: each would have to get the new one simultaneously."""
    if strange := [name for name in named if name not in (*users, ALL)]:
        raise SettingError(f"--rotate {strange[0]} is no user's name: give {ALL}, or one of {', '.join(users)}")
    return users if ALL in named else named


def routes(password: str) -> str:
    """Return what the block `cluster` of a server's configuration includes."""
    hosts = [f"nats-{n}.nats-headless.{NAMESPACE}.svc.cluster.local:6222" for n in range(SIZE)]
    urls = json.dumps([f"nats-route://{ROUTES}:{password}@{host}" for host in hosts])
    return f"authorization {{ user: {ROUTES}, password: {json.dumps(password)}, timeout: 5 }}\nroutes: {urls}\n"


def kustomization(folder: Path, of: Iterable[str]) -> str:
    """Return the Secrets of these identities, the servers and the certificates, by the names that pods mount."""
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

"""A request that the server does not permit, in words: what the user may not do, and who may. Pure."""

from __future__ import annotations

import re

from shared.contract import catalog, names
from shared.contract.rights import identities

_TENANT = re.compile(r"[A-Z][A-Z0-9_]*")
_READER = "reader-"
_BUCKET = "KV_"
# What people call the content of a bucket.
_CONTENTS = {
    names.CAMERAS: "cameras",
    names.CREDENTIALS: "cameras' passwords",
    names.RULES: "rules",
    names.RECORDINGS: "recording policies",
    names.ENDPOINT: "the webhook's endpoint",
    names.RUNS: "runs of 'tidegate reanalyze'",
}
_WRITES = ("CREATE", "UPDATE", "DELETE", "PURGE", "DURABLE")
_REQUESTS = {
    names.FIND: "search",
    names.ASK: "ask about video",
    names.RECORDING: "read recordings",
    "svc.scaler": "ask scalers",
    f"{names.EVENT}.": "publish events",
}


def identity_of(user: str) -> str:
    """Return the identity of a user, without its tenant; `admin` for a user that is none of ours."""
    tenant, _, rest = user.partition("-")
    name = rest if rest and _TENANT.fullmatch(tenant) else user
    return name if name in identities.every() or name.startswith(_READER) else identities.ADMIN


def inbox(user: str) -> str:
    """Return the prefix of the subjects on which the server lets this user receive replies."""
    return f"_INBOX_{identity_of(user)}"


def sentence(user: str, subject: str, *, subscribes: bool) -> str:
    """Return what `user` may not do, who may, and how to become that. subject: of the request, or subscription."""
    may = " or ".join((identities.ADMIN, *_others(subject, subscribes)))
    what = f"hear {subject}" if subscribes else _action(subject)
    return (
        f"{user or 'this user'} may not {what}: connect as {may}, by NATS_USER and NATS_PASSWORD_FILE. "
        "docs/how-to/operate-reference.md lists what each user may"
    )


def _others(subject: str, subscribes: bool) -> list[str]:
    """Return the identities of apps that may."""
    permitted = identities.permissions()
    kind = "subscribe" if subscribes else "publish"
    found = []
    for identity in (client.identity for client in catalog.CLIENTS):
        patterns: list[str] = permitted[identity][kind]  # type: ignore[literal-required]
        if any(names.overlap(pattern, _in_account(subject)) for pattern in patterns):
            found.append(identity)
    return found


def _in_account(subject: str) -> str:
    return names.imported(subject) if subject.startswith(f"{names.API}.") else subject


def _action(subject: str) -> str:
    """Return the action of a request, such as `read cameras`."""
    prefix = next((p for p in (f"{names.API}.", f"{names.IMPORTED_API}.") if subject.startswith(p)), "")
    if prefix:
        return _of_jetstream(subject.removeprefix(prefix).split("."))
    if subject.startswith("$KV."):
        return f"change {_content(subject.split('.')[1])}"
    return next((text for start, text in _REQUESTS.items() if subject.startswith(start)), f"publish to {subject}")


def _of_jetstream(tokens: list[str]) -> str:
    """tokens: of a request, after the prefix, such as `STREAM`, `INFO`, `KV_cameras`."""
    verb = "change" if any(token in _WRITES for token in tokens[1:3]) else "read"
    stream = next((t for t in tokens[1:] if t.startswith(_BUCKET)), "")
    if stream:
        return f"{verb} {_content(stream.removeprefix(_BUCKET))}"
    streams = {str(value) for name, value in vars(names).items() if name.isupper() and str(value) == name}
    found = next((token for token in tokens[1:] if token in streams), "")
    return f"{verb} the stream {found}" if found else f"{verb} the state of JetStream"


def _content(bucket: str) -> str:
    return _CONTENTS.get(bucket, f"the bucket {bucket}")

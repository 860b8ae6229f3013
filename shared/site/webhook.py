"""The endpoint that a site file declares, next to the stored one. Pure.

The stored URL and secret belong to one origin: scheme, host and port. Neither goes to another, and alerts never go on
to an origin that the file does not name.

Example:
    after, notices = wanted(site.webhook, values, state.endpoint)       # raises Mistakes, which repeat no value
    details(state.endpoint, after)                                      # ["url https://hooks.example.org", …]
"""

from __future__ import annotations

from shared.contract import endpoint
from shared.contract.endpoint import EndpointSettings
from shared.contract.reading.mistakes import Mistake, Mistakes
from shared.runtime.errors import SettingError
from shared.site.format import SiteWebhook, fixed_origin
from shared.site.references import Values

Stored = EndpointSettings | SettingError | None


def wanted(declared: SiteWebhook, values: Values, stored: Stored) -> tuple[EndpointSettings, list[str]]:
    """Return (the endpoint, a notice for each stored value that stays). Raises Mistakes."""
    now = stored if isinstance(stored, EndpointSettings) else None
    notices: list[str] = []
    url = _url(declared, values, now, notices)
    found = EndpointSettings(
        url=url,
        secret=_secret(values, url, now, notices),
        events=tuple(kind for kind in endpoint.KINDS if kind in declared.events),
        format=declared.format,
    )
    if flaws := [Mistake(f"webhook.{field}", f"it {flaw}") for field, flaw in endpoint.flaws(found)]:
        raise Mistakes("the site", flaws)
    return found, notices


def details(before: Stored, after: EndpointSettings) -> list[str]:
    """Return what differs, for people: without path, query, login and secret."""
    if not isinstance(before, EndpointSettings):
        was = ["replaces an unusable entry"] * (before is not None)
        secret = ["secret"] * bool(after.secret)
        return [f"url {after.where}", f"events {', '.join(after.events)}", f"format {after.format}", *secret, *was]
    found = []
    if endpoint.origin(before.url) != endpoint.origin(after.url):
        found.append(f"url {after.where} (was {before.where})")
    elif before.url != after.url:
        found.append("another path or login")
    if before.events != after.events:
        found.append(f"events {', '.join(after.events)} (was {', '.join(before.events)})")
    if before.format != after.format:
        found.append(f"format {after.format} (was {before.format})")
    if before.secret != after.secret:
        found.append("another secret" if before.secret else "secret")
    return found


def _url(declared: SiteWebhook, values: Values, now: EndpointSettings | None, notices: list[str]) -> str:
    fixed = fixed_origin(declared.url)
    if values.url is not None:
        to = endpoint.origin(values.url)
        if to is None:
            raise _mistake("webhook.url", f"it {endpoint.NO_URL}")
        if fixed and to != fixed:
            raise _mistake("webhook.url", "a variable changes its host: percent-encode / and @ in its value")
        return values.url
    text = f"the variable {values.missing_url} is not set"
    if now and fixed == endpoint.origin(now.url):
        notices.append(f"webhook: {values.missing_url} is not set: the stored URL stays")
        return now.url
    if now:
        text += ", and the stored URL is for another address" if fixed else ", and it is a part of the address"
    raise _mistake("webhook.url", text)


def _secret(values: Values, url: str, now: EndpointSettings | None, notices: list[str]) -> str:
    if values.secret is not None:
        return values.secret
    stored = now.secret if now else ""
    is_moved = now is not None and endpoint.origin(url) != endpoint.origin(now.url)
    name = values.missing_secret
    if name and (is_moved or not stored):
        why = "the stored secret is for another address" if stored else "no secret is stored"
        raise _mistake("webhook.secret", f"the variable {name} is not set, and {why}")
    if stored and is_moved:
        raise _mistake("webhook", "the stored secret is for another address: give 'secret' too")
    if name:
        notices.append(f"webhook: {name} is not set: the stored secret stays")
    return stored


def _mistake(path: str, text: str) -> Mistakes:
    return Mistakes("the site", [Mistake(path, text)])

"""WS-Discovery's question for cameras, and devices from its answers. Pure.

OASIS WS-Discovery 1.0 of April 2005, as the ONVIF Core Specification, 7.3, profiles it.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from shared.runtime.errors import SettingError
from tidegate.onvif.elements import Element, parse
from tidegate.onvif.values import LONGEST_URL, Address, BadAnswer, Found, short

GROUP, PORT = "239.255.255.250", 3702
# Devices announce one of these types, or both.
TYPES = ("dn:NetworkVideoTransmitter", "tds:Device")
_MOST_SCOPES = 64
_MOST_ADDRESSES = 8
_SCOPES = "onvif://www.onvif.org/"

_PROBE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
    'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
    'xmlns:dn="http://www.onvif.org/ver10/network/wsdl" xmlns:tds="http://www.onvif.org/ver10/device/wsdl">'
    "<s:Header><a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action>"
    "<a:MessageID>urn:uuid:{id}</a:MessageID>"
    "<a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header>"
    "<s:Body><d:Probe><d:Types>{type}</d:Types></d:Probe></s:Body></s:Envelope>"
)


def question(id: str, type: str) -> bytes:
    """Return a Probe for devices of one type. id: a UUID, which answers refer to."""
    return _PROBE.format(id=id, type=type).encode()


def answers(data: bytes, ids: frozenset[str], sender: str) -> list[Found]:
    """Return the devices of an answer to one of our questions; none if it answers another. Raises BadAnswer."""
    root = parse(data)
    if root.text("Header", "RelatesTo").rpartition(":")[2].lower() not in ids:
        return []
    return [_found(match, sender) for match in root.all("Body", "ProbeMatches", "ProbeMatch")]


def _found(match: Element, sender: str) -> Found:
    endpoint = match.text("EndpointReference", "Address")[:LONGEST_URL]
    if not endpoint:
        raise BadAnswer("its answer names no endpoint")
    scopes = match.text("Scopes").split()[:_MOST_SCOPES]
    return Found(
        endpoint,
        sender,
        _own_address(match.text("XAddrs").split()[:_MOST_ADDRESSES], sender),
        name=_scope(scopes, "name"),
        manufacturer=_scope(scopes, "manufacturer") or _scope(scopes, "mfr"),
        model=_scope(scopes, "hardware") or _scope(scopes, "model"),
        location=_scope(scopes, "location"),
    )


def _own_address(urls: list[str], sender: str) -> Address | None:
    """Return the first address at the sender's IP: an answer can't lead us to another machine."""
    for url in urls:
        try:
            if urlsplit(url).hostname == sender:
                # Senders can be forged: a query could be a command to the machine that is really there.
                return Address.parse(url.partition("?")[0])
        except (ValueError, SettingError):
            continue
    return None


def _scope(scopes: list[str], kind: str) -> str:
    begin = f"{_SCOPES}{kind}/"
    return next((short(unquote(s[len(begin) :])) for s in scopes if s.lower().startswith(begin)), "")

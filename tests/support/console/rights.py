"""The table of rights: every route of the console, its lowest role, and its dependence on cameras.

A new route without a row fails `test_console_rights.py`. Names in braces are of `everybody.py`:
`{camera}` is each camera in turn, `{letter}`, `{incident}` what belongs to one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from services.console.web.asker import Role


class Row(NamedTuple):
    """role: the lowest one; None: for everybody. status: the answer to a person with the role and all its cameras.

    at: the path below api/v1. query, body: of the request. everything: it covers all cameras together: a person with
    some alone may not. by_hand: programs may not, whatever their token says. changes: the test creates what it needs
    before each try. note: why it is as it is.
    """

    role: Role | None
    status: int | tuple[int, ...]
    at: str
    query: Mapping[str, str] = MappingProxyType({})
    body: Any = None
    everything: bool = False
    by_hand: bool = False
    signs_out: bool = False
    note: str = ""


RULES = {"rules": {"zones": {}, "lines": {}, "rules": []}}
BODY = {"role": "viewer", "cameras": ["{camera}"]}

ROWS: dict[tuple[str, str], Row] = {
    # ---- the caller
    ("GET", "/health"): Row(None, 200, "health"),
    ("GET", "/session"): Row(None, 200, "session"),
    ("POST", "/session"): Row(None, (401, 429), "session", body={"name": "nobody", "password": "guessed it"}),
    ("POST", "/session/link"): Row(None, (401, 429), "session/link", body={"token": "guessed it"}),
    ("GET", "/session/oidc"): Row(None, 404, "session/oidc", note="no provider is set here"),
    ("GET", "/session/oidc/callback"): Row(None, 404, "session/oidc/callback"),
    ("GET", "/me"): Row("viewer", 200, "me"),
    ("POST", "/me/password"): Row("viewer", 400, "me/password", body={"new": "short"}, by_hand=True),
    ("GET", "/me/tokens"): Row("viewer", 200, "me/tokens", by_hand=True),
    ("POST", "/me/tokens"): Row(
        "viewer", 201, "me/tokens", body={"label": "wall", "cameras": ["{camera}"]}, by_hand=True
    ),
    ("DELETE", "/me/tokens/{id}"): Row("viewer", 404, "me/tokens/0123456789abcdef", by_hand=True),
    # ---- people: a person with some cameras would grant themselves the others
    ("GET", "/people"): Row("admin", 200, "people", everything=True),
    ("PUT", "/people/{name}"): Row("admin", 200, "people/{guest}", body=BODY, everything=True),
    ("DELETE", "/people/{name}"): Row("admin", 204, "people/{guest}", everything=True),
    ("POST", "/people/{name}/link"): Row("admin", 201, "people/{guest}/link", everything=True, by_hand=True),
    ("POST", "/people/{name}/signout"): Row("admin", 204, "people/{guest}/signout", everything=True),
    ("GET", "/groups"): Row("admin", 200, "groups", everything=True),
    ("GET", "/groups/{name}"): Row("admin", 200, "groups/{group}", everything=True),
    ("PUT", "/groups/{name}"): Row("admin", 200, "groups/{group}", body={"cameras": ["{camera}"]}, everything=True),
    ("DELETE", "/groups/{name}"): Row("admin", 204, "groups/{group}", everything=True),
    # ---- events
    ("GET", "/events"): Row("viewer", 200, "events", query={"cameras": "{camera}"}),
    # ---- cameras and rules
    ("GET", "/cameras"): Row("viewer", 200, "cameras"),
    ("GET", "/cameras/{camera}"): Row("viewer", 200, "cameras/{camera}"),
    ("POST", "/cameras"): Row(
        "operator", 409, "cameras", body={"id": "{camera}", "url": "rtsp://10.0.0.9/x"}, everything=True
    ),
    ("PATCH", "/cameras/{camera}"): Row("operator", 200, "cameras/{camera}", body={"min_score": 0.4}),
    ("DELETE", "/cameras/{camera}"): Row("operator", 204, "cameras/{camera}"),
    ("POST", "/camera-tests"): Row(
        "operator", 400, "camera-tests", body={"camera": "{camera}", "min_score": 7}, note="so none is opened"
    ),
    ("GET", "/rules/schema"): Row("viewer", 200, "rules/schema"),
    ("POST", "/rules/check"): Row("viewer", 200, "rules/check", body=RULES),
    ("GET", "/cameras/{camera}/rules"): Row("viewer", 200, "cameras/{camera}/rules"),
    ("PUT", "/cameras/{camera}/rules"): Row("operator", 200, "cameras/{camera}/rules", body=RULES),
    ("DELETE", "/cameras/{camera}/rules"): Row(
        "operator", (204, 404), "cameras/{camera}/rules", note="it may have none"
    ),
    ("POST", "/cameras/{camera}/rules/preview"): Row(
        "operator", 200, "cameras/{camera}/rules/preview", body={**RULES, "minutes": 1}
    ),
    # ---- video
    ("GET", "/cameras/{camera}/picture"): Row("viewer", 404, "cameras/{camera}/picture", note="there is none yet"),
    ("GET", "/clips/{camera}"): Row(
        "viewer", 404, "clips/{camera}", query={"from": "2026-11-29T00:00:00Z", "to": "2026-11-29T00:00:10Z"}
    ),
    ("WS", "/live"): Row("viewer", 101, "live"),
    # ---- recordings; no recorder runs here
    ("GET", "/recordings"): Row("viewer", 503, "recordings"),
    ("GET", "/recordings/{camera}"): Row("viewer", 503, "recordings/{camera}"),
    ("GET", "/recordings/{camera}/time"): Row(
        "viewer", 503, "recordings/{camera}/time", query={"from": "2026-11-29T00:00:00Z", "to": "2026-11-29T00:00:10Z"}
    ),
    ("GET", "/recordings/{camera}/playlist.m3u8"): Row(
        "viewer",
        503,
        "recordings/{camera}/playlist.m3u8",
        query={"from": "2026-11-29T00:00:00Z", "to": "2026-11-29T00:00:10Z"},
    ),
    ("GET", "/recordings/{camera}/video.mp4"): Row(
        "viewer", 503, "recordings/{camera}/video.mp4", query={"file": "{camera}/x", "begin": "0", "end": "9"}
    ),
    ("GET", "/runs"): Row("viewer", 200, "runs"),
    # ---- incidents
    ("GET", "/incidents"): Row("viewer", 200, "incidents", query={"camera": "{camera}"}),
    ("GET", "/incidents/count"): Row("viewer", 200, "incidents/count", query={"camera": "{camera}"}),
    ("GET", "/incidents/{id}"): Row("viewer", 200, "incidents/{incident}"),
    ("GET", "/incidents/{id}/picture"): Row("viewer", 404, "incidents/{incident}/picture", note="its video is gone"),
    ("GET", "/incidents/{id}/clip"): Row("viewer", 404, "incidents/{incident}/clip"),
    ("PUT", "/incidents/{id}/reviewed"): Row("viewer", 204, "incidents/{incident}/reviewed", by_hand=True),
    ("DELETE", "/incidents/{id}/reviewed"): Row("viewer", 204, "incidents/{incident}/reviewed", by_hand=True),
    ("GET", "/timeline"): Row("viewer", 200, "timeline", query={"camera": "{camera}"}),
    # ---- the current state
    ("GET", "/now"): Row("viewer", 200, "now"),
    ("GET", "/history"): Row("viewer", 200, "history", query={"service": "cv"}, everything=True),
    ("GET", "/markers"): Row("viewer", 200, "markers"),
    # ---- moments, questions; no service that answers runs here
    ("POST", "/find"): Row("viewer", 503, "find", body={"text": "a van", "cameras": ["{camera}"]}),
    ("POST", "/find/export"): Row("viewer", 503, "find/export", body={"text": "a van", "cameras": ["{camera}"]}),
    ("GET", "/find/labels"): Row("viewer", 503, "find/labels", query={"cameras": "{camera}"}),
    ("GET", "/find/saved"): Row("viewer", 200, "find/saved"),
    ("GET", "/find/saved/{name}"): Row("viewer", 404, "find/saved/vans", note="those of one's own alone"),
    ("PUT", "/find/saved/{name}"): Row(
        "viewer", 204, "find/saved/kept", body={"search": {"text": "a van"}}, by_hand=True
    ),
    ("DELETE", "/find/saved/{name}"): Row("viewer", 404, "find/saved/vans", by_hand=True),
    ("POST", "/ask"): Row("operator", (200, 429), "ask", body={"question": "who?", "cameras": ["{camera}"]}),
    ("POST", "/summarize"): Row("operator", (200, 429), "summarize", body={"cameras": ["{camera}"]}),
    ("GET", "/ask/recent"): Row("viewer", 200, "ask/recent"),
    # ---- scaling
    ("GET", "/scaling"): Row("viewer", 200, "scaling", everything=True),
    ("POST", "/whatif"): Row("operator", 400, "whatif", body={"service": "nothing"}),
    ("GET", "/whatif"): Row("operator", 200, "whatif"),
    ("GET", "/whatif/{id}"): Row("operator", 404, "whatif/0123", note="those of one's own alone"),
    ("DELETE", "/whatif/{id}"): Row("operator", 404, "whatif/0123"),
    # ---- models; this console has no folder of measured ones
    ("GET", "/models"): Row("viewer", 200, "models"),
    ("GET", "/models/{name}/picture"): Row("viewer", 404, "models/yard/picture", everything=True),
    ("PUT", "/models/active"): Row("admin", 404, "models/active", body={"name": "yard"}, everything=True),
    # ---- the site file: of all cameras
    ("GET", "/site"): Row("operator", 200, "site", everything=True),
    ("POST", "/site/compare"): Row("admin", 200, "site/compare", body={"text": "recording:"}, everything=True),
    ("POST", "/site/apply"): Row(
        "admin", 409, "site/apply", body={"text": "recording:", "token": "guessed"}, everything=True
    ),
    ("GET", "/site/apply"): Row("admin", 200, "site/apply", everything=True),
    # ---- the system
    ("GET", "/streams"): Row("viewer", 200, "streams", everything=True),
    ("GET", "/doctor"): Row("operator", 200, "doctor"),
    ("GET", "/versions"): Row("viewer", 200, "versions"),
    ("GET", "/audit"): Row("admin", 200, "audit"),
    ("GET", "/letters"): Row("admin", 200, "letters"),
    ("GET", "/letters/{seq}"): Row("admin", 200, "letters/{letter}"),
    ("GET", "/letters/{seq}/picture"): Row("admin", 502, "letters/{letter}/picture", note="it is no real video"),
    ("POST", "/letters/{seq}/replay"): Row("admin", 200, "letters/{letter}/replay"),
    ("DELETE", "/letters/{seq}"): Row("admin", 204, "letters/{letter}"),
    ("DELETE", "/session"): Row("viewer", 204, "session", signs_out=True),
    ("DELETE", "/me/sessions"): Row("viewer", 204, "me/sessions", by_hand=True, signs_out=True),
}

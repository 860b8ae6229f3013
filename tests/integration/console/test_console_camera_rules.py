"""Rules of a camera by the console's API."""

from __future__ import annotations

import datetime as dt

from nats.aio.client import Client

from tests.support.console.audit_log import audited
from tests.support.console.cameras import RULES, now
from tests.support.console.people import add_camera, console_on
from tests.support.video.walking_people import Walk, detections, publish
from tidegate.local.server import NatsServer


async def test_rules_are_read_written_and_removed(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console:
        olga = await console.person("olga", "operator", sees_all=True)
        anna = await console.person("anna", cameras=["lobby"])
        none = (await anna.get("cameras/lobby/rules")).json()
        assert (none["rules"], none["text"], none["revision"]) == (None, "", 0)
        stored = (await olga.put("cameras/lobby/rules", json={"rules": RULES, "revision": 0})).json()
        assert stored["rules"] == RULES and "polygon: [[0.4, 0.5]," in stored["text"]
        assert (await anna.get("cameras/lobby/rules")).json() == stored
        assert (await anna.put("cameras/lobby/rules", json={"rules": RULES})).status_code == 403
        by_text = await olga.put("cameras/lobby/rules", json={"text": stored["text"], "revision": stored["revision"]})
        assert by_text.json()["rules"] == RULES
        late = await olga.put("cameras/lobby/rules", json={"rules": {}, "revision": stored["revision"]})
        assert late.status_code == 409, "somebody else has changed them meanwhile"
        wrong = await olga.put("cameras/lobby/rules", json={"text": "zones: {}\nrules:\n- id: in\n  kind: entr\n"})
        assert wrong.status_code == 422
        assert wrong.json()["mistakes"] == [
            {"path": "rules[0].kind", "text": "there is no kind 'entr': did you mean 'enter'?", "line": 4}
        ]
        assert (await olga.get("cameras/lobby")).json()["has_rules"] is True
        assert (await olga.delete("cameras/lobby/rules")).status_code == 204
        assert (await olga.delete("cameras/lobby/rules")).status_code == 404
        actions = [a["action"] for a in await audited(admin)]
        assert [a for a in actions if a.startswith("rules")] == ["rules.put", "rules.put", "rules.put", "rules.remove"]
        schema = (await anna.get("rules/schema")).json()
        assert "Loitering" in schema["$defs"]


async def test_mistakes_in_rules_have_their_places(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        anna = await console.person("anna")
        text = "zones:\n  door:\n    polygon: [[0, 0], [1, 1]]\nrules:\n- id: in\n  kind: enter\n  zone: dor\n"
        found = (await anna.post("rules/check", json={"text": text})).json()
        assert [(m["path"], m["line"]) for m in found["mistakes"]] == [("zones.door.polygon", 3), ("rules[0].zone", 7)]
        assert found["rules"] is None and found["text"] == text
        drawn = (await anna.post("rules/check", json={"rules": {**RULES, "zones": {}}})).json()
        assert [(m["path"], m["line"]) for m in drawn["mistakes"]] == [("rules[0].zone", 5)]
        assert (await anna.post("rules/check", json={})).status_code == 400
        assert (await anna.post("rules/check", json={"text": "a: &a [*a]"})).json()["mistakes"][0]["path"] == ""


async def test_rules_are_tried_on_past_detections(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    begin = now() - dt.timedelta(minutes=20)
    walk = Walk(0, 10, (0.2, 0.9), (0.8, 0.9))
    await publish(admin, detections([walk], 12, start=begin))
    async with console_on(server, admin) as console:
        olga = await console.person("olga", "operator", cameras=["lobby"])
        answer = await olga.post("cameras/lobby/rules/preview", json={"rules": RULES})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["total"], found["segments"], len(found["incidents"])) == (1, 12, 1)
        incident = found["incidents"][0]
        assert (incident["rule"], incident["zone"], incident["labels"]) == ("in", "door", ["person"])
        assert begin < dt.datetime.fromisoformat(incident["start"]) < begin + dt.timedelta(seconds=10)
        assert incident["end"] is not None
        wrong = (await olga.post("cameras/lobby/rules/preview", json={"text": "rules: 1"})).json()
        assert wrong["mistakes"] and not wrong["incidents"]
        quiet = (await olga.post("cameras/lobby/rules/preview", json={"text": "", "minutes": 1})).json()
        assert (quiet["total"], quiet["mistakes"]) == (0, [])

"""Read, check, try, store and remove a camera's rules, as YAML and as a drawn value."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from services.console.cameras import rule_document
from services.console.cameras.rule_document import DrawnRules
from services.console.cameras.rule_preview import Previewed
from services.console.cameras.state import Cameras
from services.console.web import access
from services.console.web.disconnects import while_there
from services.console.web.needs import needs
from services.console.web.parameters import AnyRequest, User
from services.console.web.refused import Refused
from shared.contract import rules as book

Page = NamedDependency[Cameras]

_Text = Annotated[str, Meta(max_length=book.MOST_BYTES, description="YAML or JSON")]
# Accept any value: its mistakes are the answer.
_Value = Annotated[dict[str, Any], Meta(extra_json_schema={"$ref": "#/components/schemas/Rules"})]
_MOST_IDS = 100


class WrittenRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules, either as text or as value. revision: of the rules to replace.

    With a revision they are refused if the stored rules have changed meanwhile.
    """

    text: _Text | None = None
    rules: _Value | None = None
    revision: int | None = None


class TriedRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, and the period to try them on."""

    text: _Text | None = None
    rules: _Value | None = None
    minutes: Annotated[int, Meta(ge=1, le=240)] = 60


@get("/rules/schema", opt=needs("viewer"))
async def get_rules_schema() -> dict[str, Any]:
    """JSON Schema of the rules of a camera."""
    return book.json_schema()


@post("/rules/check", opt=needs("viewer"), status_code=200)
async def check_rules(data: JSONBody[WrittenRules]) -> DrawnRules:
    """Every mistake in the rules, with its path and its line, and the rules as text and as value."""
    return await _drawn(data)


@get("/cameras/{camera:str}/rules", opt=needs("viewer"))
async def get_rules(camera: FromPath[str], asker: User, page: Page) -> DrawnRules:
    """A camera's rules; null and an empty text if it has none."""
    return _stored(page, access.camera(asker, camera, page.console.cameras.values))


@put(
    "/cameras/{camera:str}/rules",
    opt=needs("operator"),
    responses={422: ResponseSpec(DrawnRules, description="There are mistakes: nothing was changed.")},
)
async def set_rules(
    camera: FromPath[str], asker: User, page: Page, data: JSONBody[WrittenRules]
) -> Response[DrawnRules]:
    """Replace the rules, from the camera's next segment on. With mistakes: 422, and the mistakes."""
    access.camera(asker, camera, page.console.cameras.values)
    new = await _drawn(data)
    if new.mistakes:
        return Response(new, status_code=422)
    found = new.rules or book.Rules()
    detail = {"rules": [r.id for r in found.rules][:_MOST_IDS], "zones": len(found.zones), "lines": len(found.lines)}
    await page.console.audit(asker, "rules.put", camera=camera, **detail)
    await page.rules.write(camera, book.encode(found), revision=data.revision)
    return Response(_stored(page, camera), status_code=200)


@delete("/cameras/{camera:str}/rules", opt=needs("operator"))
async def remove_rules(camera: FromPath[str], asker: User, page: Page) -> None:
    """Remove a camera's rules. Open incidents end; its objects are still tracked."""
    access.camera(asker, camera, page.console.cameras.values)
    if page.rules.get(camera) is None:
        raise Refused(404, f"camera {camera!r} has no rules")
    await page.console.audit(asker, "rules.remove", camera=camera)
    await page.rules.remove(camera)


@post("/cameras/{camera:str}/rules/preview", opt=needs("operator"), status_code=200)
async def preview_rules(
    request: AnyRequest, camera: FromPath[str], asker: User, page: Page, data: JSONBody[TriedRules]
) -> Previewed:
    """The incidents that these rules would have raised in the camera's last hour, without verification by a model."""
    access.camera(asker, camera, page.console.cameras.values)
    new = await _drawn(data)
    if new.mistakes:
        now = dt.datetime.now(dt.UTC)
        return Previewed(since=now, until=now, mistakes=new.mistakes)
    past = dt.timedelta(minutes=data.minutes)
    return await while_there(request, page.previewer.preview(camera, new.rules or book.Rules(), past))


async def _drawn(data: WrittenRules | TriedRules) -> DrawnRules:
    """Parse the rules. Raises Refused. Long rules are parsed in a thread, so that other requests don't wait."""
    if (data.text is None) == (data.rules is None):
        raise Refused(400, "give one of text and rules")
    if data.text is not None:
        return await asyncio.to_thread(rule_document.of_text, data.text)
    return await asyncio.to_thread(rule_document.of_value, data.rules or {})


def _stored(page: Cameras, camera: str) -> DrawnRules:
    value = page.rules.get(camera)
    found = rule_document.of_stored(value) if value else DrawnRules()
    return msgspec.structs.replace(found, revision=page.rules.revision(camera))


ROUTES = [get_rules_schema, check_rules, get_rules, set_rules, remove_rules, preview_rules]

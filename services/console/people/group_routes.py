"""Groups of cameras, whose members may see them."""

from __future__ import annotations

import msgspec
from litestar import delete, get, put
from litestar.params import FromPath, JSONBody

from services.console.accounts.records import Group, group_key
from services.console.console import Console, Shared
from services.console.people import answers
from services.console.people.admin_routes import check_may_manage
from services.console.people.answers import GroupChange, GroupShown
from services.console.web import access
from services.console.web.needs import needs
from services.console.web.parameters import User
from services.console.web.refused import Refused
from shared.contract import names

MOST = 500


class GroupsShown(msgspec.Struct, frozen=True, kw_only=True):
    """Groups by name."""

    groups: list[GroupShown]


@get("/groups", opt=needs("admin"))
async def list_groups(asker: User, console: Shared) -> GroupsShown:
    """All groups: there are at most 500."""
    check_may_manage(asker)
    return GroupsShown(groups=[_shown(console, name, group) for name, group in console.people.groups().items()])


@get("/groups/{name:str}", opt=needs("admin"))
async def get_group(name: FromPath[str], asker: User, console: Shared) -> GroupShown:
    """One group."""
    check_may_manage(asker)
    return _shown(console, name, _existing_group(console, name))


@put("/groups/{name:str}", opt=needs("admin"))
async def put_group(name: FromPath[str], asker: User, console: Shared, data: JSONBody[GroupChange]) -> GroupShown:
    """Create a group, or change its cameras."""
    check_may_manage(asker)
    names.check_token(name, "name of a group")
    before = console.people.group(name)
    revision = console.people.bucket.revision(group_key(name))
    if before is None and len(console.people.groups()) >= MOST:
        raise Refused(409, f"there are {MOST} groups already: remove one that nobody is in")
    for camera in set(data.cameras) - set(before.cameras if before else ()):
        access.camera(asker, camera, console.cameras.values)
    await console.audit(asker, "group.put", group=name, is_new=before is None, **answers.audit_cameras(data.cameras))
    new = Group(cameras=tuple(dict.fromkeys(data.cameras)))
    await console.people.bucket.write(group_key(name), msgspec.json.encode(new), revision=revision)
    return _shown(console, name, new)


@delete("/groups/{name:str}", opt=needs("admin"), status_code=204)
async def remove_group(name: FromPath[str], asker: User, console: Shared) -> None:
    """Remove a group without members: a later group of its name would give them its cameras."""
    check_may_manage(asker)
    _existing_group(console, name)
    if people := _people(console, name):
        raise Refused(409, f"{', '.join(people[:5])} {'is' if len(people) == 1 else 'are'} in it: take them out first")
    await console.audit(asker, "group.remove", group=name)
    bucket = console.people.bucket
    await bucket.remove(group_key(name), revision=bucket.revision(group_key(name)))


def _existing_group(console: Console, name: str) -> Group:
    found = console.people.group(name)
    if found is None:
        raise Refused(404, f"there is no group {name[:64]!r}")
    return found


def _people(console: Console, group: str) -> list[str]:
    return [name for name, person in console.people.all().items() if group in person.groups]


def _shown(console: Console, name: str, group: Group) -> GroupShown:
    return GroupShown(name=name, cameras=list(group.cameras), people=_people(console, name))


ROUTES = [list_groups, get_group, put_group, remove_group]

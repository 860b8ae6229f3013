"""What a route asks of who uses it: `@get("/cameras", opt=needs("viewer"))`. One that says nothing is refused."""

from __future__ import annotations

from typing import Any

from services.console.people.asker import Role

ROLE = "role"
# A route that nobody needs to be known for.
PUBLIC: dict[str, Any] = {ROLE: None}


def needs(role: Role) -> dict[str, Any]:
    """It is for people of this role, and of those above it."""
    return {ROLE: role}

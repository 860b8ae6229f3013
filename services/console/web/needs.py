"""The role that a route needs: `@get("/cameras", opt=needs("viewer"))`. A route without one is refused."""

from __future__ import annotations

from typing import Any

from services.console.web.asker import Role

ROLE = "role"
# A route without authentication.
PUBLIC: dict[str, Any] = {ROLE: None}


def needs(role: Role) -> dict[str, Any]:
    """Return the options of a route for this role and higher ones."""
    return {ROLE: role}

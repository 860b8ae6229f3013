"""People who may use the console, and how they sign in."""

from __future__ import annotations

from services.console.people import admin_routes, group_routes, session_routes, token_routes

ROUTES = [*session_routes.ROUTES, *token_routes.ROUTES, *admin_routes.ROUTES, *group_routes.ROUTES]

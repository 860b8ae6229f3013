"""Parameters that many routes have."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.di import NamedDependency

from services.console.web.asker import Asker

AnyRequest = Request[Any, Any, Any]
# The parameter `asker`.
User = NamedDependency[Asker]

"""Puts files of `deploy` into the wheel's package, where `tidegate.local` finds them.

A plain `force-include` would do it for editable installs too: a copy that no change in the checkout reaches.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CarriesDeployment(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            for name in ("keda", "observability/rules.yaml", "observability/dashboards"):
                build_data["force_include"][f"deploy/{name}"] = f"tidegate/deploy/{name}"

"""Puts `deploy/keda` into the wheel's package, where `tidegate.local.scaling.scaled_objects` finds it.

A plain `force-include` would do it for editable installs too: a copy that no change in the checkout reaches.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CarriesScaledObjects(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"]["deploy/keda"] = "tidegate/deploy/keda"

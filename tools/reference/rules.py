"""Every part of a camera's rule file, and every kind of rule: from the structs that check it."""

from __future__ import annotations

from typing import get_args

import msgspec

from shared.contract import rules
from tools.reference import structs
from tools.reference.events import link
from tools.reference.markdown import page

INTRO = """A camera's rules are one file, YAML or JSON. Points are shares of the frame's width and height, from the top
left. `tidegate rules check FILE` names every mistake with its path, and `tidegate rules schema` prints the JSON Schema
for editors. [Rules and alerts](../how-to/rules.md) shows how to write one."""

KINDS = """Each rule has a `kind`, the fields of [Rule](#rule), and the fields of its kind."""


def text() -> str:
    """Return the page."""
    kinds: tuple[type[rules.Rule], ...] = get_args(rules.AnyRule)
    parts: dict[str, type[msgspec.Struct]] = {
        name: part for name, part in structs.reachable(rules.Rules).items() if part not in kinds
    }
    blocks = [INTRO]
    parts["Rule"] = rules.Rule
    for name, part in parts.items():
        title = "The file" if part is rules.Rules else name
        blocks += [f"## {title}", structs.summary(part), structs.fields_table(part, _link)]
    blocks += ["## Kinds of rule", KINDS]
    for kind in kinds:
        own = structs.fields_table(kind, _link, without=rules.Rule.__struct_fields__)
        blocks += [f"### {kind.__struct_config__.tag}", structs.summary(kind), own]
    return page("Rule files", *blocks)


def _link(name: str) -> str:
    """Return a link; all kinds of rule share one section."""
    kinds = {kind.__name__ for kind in get_args(rules.AnyRule)}
    return "[Rule](#rule)" if name in kinds else link(name)

"""Labels that people write, against those that the embedded detector has. Pure."""

from __future__ import annotations

import difflib

from services.cv import coco
from services.search.words import wanted

# How alike two labels are, of 1, for one to be the other mistyped: "persn" is "person", "forklift" is none of them.
NEAR = 0.75


def doubt(label: str) -> str | None:
    """A question about a label that the embedded detector does not have; None where it has it.

    A model of one's own may have it, so it is no mistake; but nothing would ever be told of a mistyped one.
    """
    if label in coco.LABELS:
        return None
    near = difflib.get_close_matches(label.lower(), coco.LABELS, n=1, cutoff=NEAR)
    meant = " or ".join(map(repr, wanted(label, coco.LABELS) or near))
    remedy = f"did you mean {meant}?" if meant else "right where a model of yours has it"
    return f"the embedded detector has no label {label!r}: {remedy}"

"""Users' labels, compared with those of the embedded detector. Pure."""

from __future__ import annotations

import difflib

from services.cv import coco
from services.search.words import named_labels

# The minimum similarity, of 1, of a mistyped label: "persn" is "person", "forklift" is no label.
NEAR = 0.75


def doubt(label: str) -> str | None:
    """Return a question about a label that the embedded detector lacks; None if it has it.

    Another model may have it, so it is no mistake; but a mistyped label would never match.
    """
    if label in coco.LABELS:
        return None
    near = difflib.get_close_matches(label.lower(), coco.LABELS, n=1, cutoff=NEAR)
    meant = " or ".join(map(repr, named_labels(label, coco.LABELS) or near))
    remedy = f"did you mean {meant}?" if meant else "right where a model of yours has it"
    return f"the embedded detector has no label {label!r}: {remedy}"

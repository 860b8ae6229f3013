"""Moments as CSV without cells that a spreadsheet would run as formulas. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from services.console.find.searches import FoundMoment
from shared.contract.segment import rfc3339

COLUMNS = ("camera", "start", "end", "time", "similarity", "score", "by", "labels", "hits", "kept", "id", "run")
# A spreadsheet takes a cell that begins with one of these for a formula; some skip any leading white space.
_FORMULA = ("=", "+", "-", "@")
_BREAKS = ("\t", "\r", "\n")


def as_csv(moments: Sequence[FoundMoment]) -> str:
    """Return a header line and a line for each moment."""
    out = io.StringIO()
    write = csv.writer(out)
    write.writerow(COLUMNS)
    for m in moments:
        times = (rfc3339(m.start), rfc3339(m.end), rfc3339(m.time))
        numbers = ("" if m.similarity is None else m.similarity, "" if m.score is None else m.score)
        texts = (
            " ".join(m.by),
            _text("; ".join(m.labels)),
            m.hits,
            "yes" if m.has_video else "no",
            _text(m.id or ""),
            m.run or "",
        )
        write.writerow((_text(m.camera), *times, *numbers, *texts))
    return out.getvalue()


def _text(cell: str) -> str:
    is_one = cell.lstrip().startswith(_FORMULA) or cell.lstrip(" ").startswith(_BREAKS)
    return f"'{cell}" if is_one else cell

"""Merges hits into moments, and two rankings of moments into one. Pure.

    vectors = merge(hits_of_vectors, 3.0)
    labels = merge(hits_of_labels, 3.0)
    fuse(vectors, labels, k=10)

Every ranking is best first.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import groupby
from typing import Literal, TypeAlias

import msgspec

from services.search.rows import Hit
from shared.contract.questions.search import Moment

# Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods"
# (SIGIR 2009): a rank r is worth 1 / (60 + r). Cosines and detectors' scores don't compare; ranks do.
_RANK_OFFSET = 60


def merge(hits: Sequence[Hit], merge_s: float) -> list[Moment]:
    """Merge hits of a camera whose spans are at most `merge_s` seconds apart into one moment.

    The best hit represents a moment. Its score is the moment's `similarity` if it is a vector's, and its `score` if it
    is a label's. The two don't compare, so all `hits` must be of one kind. The best comes first, and of equal ones the
    newest; the order of `hits` makes no difference.
    """
    gap = dt.timedelta(seconds=merge_s)
    spans: list[list[Hit]] = []
    for _, of_camera in groupby(sorted(hits, key=lambda h: (h.camera, h.start)), key=lambda h: h.camera):
        end: dt.datetime | None = None
        for hit in of_camera:
            if end is None or hit.start - end > gap:
                spans.append([])
                end = hit.end
            spans[-1].append(hit)
            end = max(end, hit.end)
    best_first = sorted(((max(span, key=_rank), span) for span in spans), key=lambda s: _rank(s[0]), reverse=True)
    return [_moment(best, span) for best, span in best_first]


def fuse(vectors: Sequence[Moment], labels: Sequence[Moment], k: int) -> list[Moment]:
    """Return the `k` best of two rankings, each best first: moments that both found rise.

    A moment of `vectors` that overlaps or touches moments of `labels` takes the rank and the score of the best of them,
    and these are not listed alone. It keeps its own span, as a label may be seen all day. One ranking alone keeps its
    order.
    """
    fused: list[_Fused] = []
    merged: set[int] = set()
    for n, moment in enumerate(vectors, 1):
        overlaps = [rank for rank, other in enumerate(labels, 1) if _touch(moment, other)]
        merged.update(overlaps)
        fused.append(_fused(moment, n, labels[overlaps[0] - 1], overlaps[0]) if overlaps else _alone(moment, n, 0))
    fused += [_alone(moment, n, 1) for n, moment in enumerate(labels, 1) if n not in merged]
    return [moment for _, moment in sorted(fused, key=lambda f: f[0])[:k]]


# (sort key, moment). No two keys are equal, as a ranking gives each rank once.
_Fused: TypeAlias = tuple[tuple[float, float, float], Moment]


def _alone(moment: Moment, rank: int, side: int) -> _Fused:
    return (-_worth(rank), side, rank), moment


def _fused(moment: Moment, rank: int, label: Moment, label_rank: int) -> _Fused:
    both = msgspec.structs.replace(moment, score=label.score, by=["vectors", "labels"])
    return (-_worth(rank) - _worth(label_rank), 0, rank), both


def _worth(rank: int) -> float:
    return 1 / (_RANK_OFFSET + rank)


def _touch(a: Moment, b: Moment) -> bool:
    return a.camera == b.camera and a.start <= b.end and b.start <= a.end


def _rank(hit: Hit) -> tuple[object, ...]:
    """A sort key: the greater, the better. Hits with equal keys are interchangeable."""
    return (hit.score, hit.time, hit.seq, hit.camera, hit.id or "", hit.label or "", hit.box or ())


def _moment(best: Hit, span: Sequence[Hit]) -> Moment:
    by: Literal["vectors", "labels"] = "labels" if best.id is None else "vectors"
    return Moment(
        camera=best.camera,
        start=min(h.start for h in span),
        end=max(h.end for h in span),
        time=best.time,
        seq=best.seq,
        id=best.id,
        similarity=best.score if by == "vectors" else None,
        score=best.score if by == "labels" else None,
        by=[by],
        box=best.box,
        hits=len(span),
        run=best.run,
    )

"""Geometry of rules: polygons, lines, headings and distances."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.contract import geometry

# On a grid, so that what touches does so exactly.
grid = st.integers(-8, 8).map(lambda n: n / 8)
points = st.tuples(grid, grid)
anywhere = st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5))
aspects = st.sampled_from([0.5625, 1.0, 4 / 3, 16 / 9])


@given(anywhere, st.tuples(st.floats(0, 0.4), st.floats(0.5, 1)), st.tuples(st.floats(0, 0.4), st.floats(0.5, 1)))
def test_inside_a_rectangle(point: tuple[float, float], xs: tuple[float, float], ys: tuple[float, float]) -> None:
    corners = [(xs[0], ys[0]), (xs[1], ys[0]), (xs[1], ys[1]), (xs[0], ys[1])]
    assume(point[0] not in xs and point[1] not in ys)
    expected = xs[0] < point[0] < xs[1] and ys[0] < point[1] < ys[1]
    for shift in range(4):
        turned = corners[shift:] + corners[:shift]
        assert geometry.inside(turned, point) == geometry.inside(turned[::-1], point) == expected


@given(anywhere, st.integers(3, 12), st.floats(0, 6))
def test_inside_a_regular_polygon_is_left_of_all_its_edges(point: tuple[float, float], n: int, turn: float) -> None:
    angles = [turn + 2 * math.pi * k / n for k in range(n)]
    corners = [(0.5 + 0.4 * math.cos(a), 0.5 + 0.4 * math.sin(a)) for a in angles]
    sides = [geometry.right_of(a, b, point, 1.0) for a, b in itertools.pairwise([*corners, corners[0]])]
    assume(all(abs(s) > 1e-9 for s in sides))
    assert geometry.inside(corners, point) == all(s > 0 for s in sides)
    if geometry.inside(corners, point):
        assert geometry.border(corners, point, 1.0) == pytest.approx(min(sides))


def test_inside_a_polygon_with_a_bay() -> None:
    u = [(0.0, 0.0), (0.3, 0.0), (0.3, 0.7), (0.7, 0.7), (0.7, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    assert all(geometry.inside(u, p) for p in [(0.1, 0.1), (0.9, 0.1), (0.5, 0.9)])
    assert not any(geometry.inside(u, p) for p in [(0.5, 0.1), (0.5, 0.6), (-0.1, 0.5), (1.1, 0.9), (0.5, 1.1)])
    assert geometry.area(u) == pytest.approx(1 - 0.4 * 0.7)


def way(start: tuple[float, float], end: tuple[float, float], point: tuple[float, float], aspect: float = 1.0) -> float:
    """The shortest way from a point to a stretch, in heights."""
    dx, dy = (end[0] - start[0]) * aspect, end[1] - start[1]
    px, py = (point[0] - start[0]) * aspect, point[1] - start[1]
    length = dx * dx + dy * dy
    share = min(1.0, max(0.0, (px * dx + py * dy) / length)) if length else 0.0
    return math.hypot(px - share * dx, py - share * dy)


@given(points, points, points, points)
def test_intersection_is_symmetric(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]
) -> None:
    found = geometry.meet(a, b, c, d)
    assert all(geometry.meet(*p, *q) == found for p in ((a, b), (b, a)) for q in ((c, d), (d, c)))
    assert all(geometry.meet(*q, *p) == found for p in ((a, b), (b, a)) for q in ((c, d), (d, c)))


@given(points, points, points, points)
def test_intersecting_segments_share_a_point_and_others_are_apart(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]
) -> None:
    # The nearest way between two stretches that do not meet is from an end of one of them.
    ends = [way(c, d, a), way(c, d, b), way(a, b, c), way(a, b, d)]
    crosses = (
        a != b
        and c != d
        and all(
            geometry.right_of(*line, p, 1) * geometry.right_of(*line, q, 1) < 0
            for line, p, q in (((a, b), c, d), ((c, d), a, b))
        )
    )
    assert geometry.meet(a, b, c, d) == (crosses or min(ends) < 1e-9)


@given(points, points, points, aspects)
def test_right_is_the_negative_of_left_and_rotates_with_the_line(
    start: tuple[float, float], end: tuple[float, float], point: tuple[float, float], aspect: float
) -> None:
    assume(start != end)
    right = geometry.right_of(start, end, point, aspect)
    assert geometry.right_of(end, start, point, aspect) == pytest.approx(-right)
    assert abs(right) <= way(start, end, point, aspect) + 1e-9


def test_right_is_seen_along_the_line() -> None:
    up, right = ((0.5, 1.0), (0.5, 0.0)), ((0.0, 0.5), (1.0, 0.5))
    assert geometry.right_of(*up, (0.75, 0.5), 2.0) == pytest.approx(0.5)
    assert geometry.right_of(*up, (0.25, 0.5), 2.0) == pytest.approx(-0.5)
    # y goes down.
    assert geometry.right_of(*right, (0.5, 0.75), 2.0) == pytest.approx(0.25)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_an_angle_between_headings_is_at_most_half_a_turn(a: float, b: float) -> None:
    found = geometry.turned(a, b)
    assert 0 <= found <= 180
    assert found == pytest.approx(geometry.turned(b, a), abs=1e-6)
    assert math.cos(math.radians(found)) == pytest.approx(math.cos(math.radians(a - b)), abs=1e-6)


@pytest.mark.parametrize(("movement", "degrees"), [((0, -1), 0), ((1, 0), 90), ((0, 1), 180), ((-1, 0), 270)])
def test_headings_are_clockwise_from_up(movement: tuple[float, float], degrees: float) -> None:
    assert geometry.heading(*movement) == degrees


@given(st.tuples(points, points), st.tuples(points, points), aspects)
def test_the_distance_of_boxes_is_that_of_their_nearest_points(
    a: tuple[tuple[float, float], tuple[float, float]],
    b: tuple[tuple[float, float], tuple[float, float]],
    aspect: float,
) -> None:
    def box(p: tuple[float, float], q: tuple[float, float]) -> tuple[float, float, float, float]:
        return min(p[0], q[0]), min(p[1], q[1]), max(p[0], q[0]), max(p[1], q[1])

    one, other = box(*a), box(*b)
    found = geometry.apart(one, other, aspect)
    steps = [n / 8 for n in range(-8, 9)]
    near: Callable[[float, tuple[float, ...]], float] = lambda v, ends: min(max(v, ends[0]), ends[1])  # noqa: E731
    least = min(
        math.hypot((near(x, one[::2]) - near(x, other[::2])) * aspect, near(y, one[1::2]) - near(y, other[1::2]))
        for x in steps
        for y in steps
    )
    assert found == pytest.approx(least) == geometry.apart(other, one, aspect)


@given(st.lists(points, min_size=3, max_size=7, unique=True))
def test_self_intersection_does_not_depend_on_the_order_of_points(corners: list[tuple[float, float]]) -> None:
    found = geometry.crosses_itself(corners)
    assert geometry.crosses_itself(corners[::-1]) == geometry.crosses_itself(corners[1:] + corners[:1]) == found
    assert not (found and len(corners) == 3)


def test_stars_intersect_themselves_and_round_polygons_do_not() -> None:
    angles = [2 * math.pi * k / 5 for k in range(5)]
    around = [(math.cos(a), math.sin(a)) for a in angles]
    assert not geometry.crosses_itself(around)
    assert geometry.crosses_itself([around[k * 2 % 5] for k in range(5)])
    assert geometry.crosses_itself([(0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)])

"""Regular expressions cost a text's length, whatever the text: all of the code, as they are found in it."""

from __future__ import annotations

import pytest

from tests.support.effort import assert_cheap
from tidegate.view.inert import one_line
from tools.patterns import Pattern, patterns, superlinear

# In one process, the code is searched once.
pytestmark = pytest.mark.xdist_group("patterns")


def of(text: str, anchored: bool = False) -> str:
    return superlinear(Pattern("", text, 0, anchored))


@pytest.fixture(scope="module")
def every() -> list[Pattern]:
    return patterns()


def test_the_cost_of_each_pattern_is_linear_in_the_text(every: list[Pattern]) -> None:
    assert {f"{p.where} {p.text!r}": cost for p in every if (cost := superlinear(p))} == {}


def test_patterns_are_found_in_any_form_of_code(every: list[Pattern]) -> None:
    found = {(p.where.partition(":")[0], p.text, p.anchored) for p in every}
    assert ("shared/contract/work/jobs.py", r"^[A-Za-z0-9_.:-]{1,128}(?![\s\S])", False) in found, "of a field"
    assert ("shared/contract/deadletters.py", "[A-Za-z0-9_-]{1,64}", True) in found, "kept under a name"
    assert ("shared/video/budget.py", rb"\x00\x00\x01", False) in found, "of bytes"
    assert ("shared/contract/reading/mistakes.py", r", got \d+$", False) in found, "applied where it stands"


def test_costlier_patterns_are_found() -> None:
    texts = [r"\s*\n\s*", r"(a+)+b", r"a*a*b", r"(\w+\s?)*$", r"://[^@]*@", r"(?:a+b)?", r"x+y", r"(?i)A+ba", r"a.*b"]
    assert [text for text in texts if not of(text)] == []


def test_patterns_costly_at_one_place_are_found() -> None:
    texts = [r"(a|aa)*c", r"(a{1,3})*c", r"a+\.?a+b", r"(\w+\s?)*$", r".*a.*b", r"(?:a?)*b"]
    assert [text for text in texts if not of(text, anchored=True)] == []


def test_linear_patterns_are_accepted() -> None:
    texts = [r"\s+", r"[0-9]+(\.[0-9]+)?", r":[0-9]*\Z", r"(?:\d+[smhd])+", r"<[^<>]*>", r"^a*b"]
    assert {text: cost for text in texts if (cost := of(text))} == {}


def test_making_a_line_of_any_text_has_linear_cost() -> None:
    """A caption of 100,000 spaces held a terminal up for a minute, a camera's reason each refresh for half a second."""
    assert_cheap("from tidegate.view.inert import one_line", "one_line(' ' * 1_000_000 + 'x')")
    assert one_line(" a \n \n b  c\t\x85d ") == "a b  c d"


@pytest.mark.parametrize("door", ["events.decode(data, events.Caption)", "segment.from_headers({'Camera': text})"])
@pytest.mark.parametrize("unit", ["a", " ", "\\", "://", "&key=", "[[", "9", '{"a":'])
def test_refusing_a_message_has_linear_cost(unit: str, door: str) -> None:
    """Of four megabytes, and its reason is redacted: sixty times what any message's text may have."""
    imports = f"""
from shared.contract import events, segment
from shared.runtime.errors import TidegateError
from shared.runtime.redact import redact
text = {unit!r} * (4 * 2**20 // {len(unit)})
data = text.encode()
def refused():
    try:
        {door}
    except TidegateError as e:
        return redact(str(e)), redact(text)
"""
    assert_cheap(imports, "refused()[0]")

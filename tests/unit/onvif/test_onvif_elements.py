"""XML of strangers: its values, and refusals before it costs anything."""

from __future__ import annotations

import tracemalloc
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tidegate.onvif.elements import Element, parse
from tidegate.onvif.values import BadAnswer

_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="\x85\u2028"), max_size=40)
_NAMES = st.from_regex(r"[a-zA-Z][a-z0-9]{0,8}", fullmatch=True)
_TREES = st.recursive(
    st.tuples(_NAMES, _TEXTS, st.just([])),
    lambda below: st.tuples(_NAMES, _TEXTS, st.lists(below, max_size=4)),
    max_leaves=12,
)


def _written(tree: tuple[str, str, list[object]], prefix: str) -> str:
    name, text, children = tree
    inside = escape(text) + "".join(_written(child, prefix) for child in children)  # type: ignore[arg-type]
    return f"<{prefix}{name} {prefix}a={quoteattr(text)}>{inside}</{prefix}{name}>"


def _read(element: Element) -> tuple[str, str, list[object]]:
    assert element.attributes == {"a": element.value}
    return element.name, element.value, [_read(child) for child in element.children]


@settings(max_examples=examples(200))
@given(_TREES, st.sampled_from(["", "s:", "tds:"]))
def test_a_document_is_read_as_it_was_written_by_any_prefix(tree: tuple[str, str, list[object]], prefix: str) -> None:
    assert _read(parse(_written(tree, prefix).encode())) == tree


@settings(max_examples=examples(500))
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        parse(data)
    except BadAnswer:
        pass


BOMB = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "document",
    [
        f'<!DOCTYPE r [<!ENTITY e0 "ha">{BOMB}]><r>&e9;</r>',
        '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>',
        '<!DOCTYPE r SYSTEM "http://10.0.0.1/x.dtd"><r/>',
        '<!DOCTYPE r [<!ATTLIST r a CDATA "b">]><r/>',
        "<!DOCTYPE r><r/>",
    ],
    ids=["bomb", "file", "remote", "attributes", "empty"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_declarations_are_refused(document: str, encoding: str) -> None:
    with pytest.raises(BadAnswer, match="declares"):
        parse(document.encode(encoding))


def test_long_namespaces_are_not_copied_into_names() -> None:
    """A parser that resolves them takes 2.9 GiB for this document."""
    document = f'<a:r xmlns:a="{"u" * 50_000}">' + "".join(f"<a:n{n}/>" for n in range(30_000)) + "</a:r>"
    tracemalloc.start()
    try:
        assert len(parse(document.encode()).children) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "document",
    [b"<a>" * 100 + b"</a>" * 100, b"<r>" + b"<a/>" * 100_000 + b"</r>", b"", b"<a>", b"<a></b>", b"<a/><b/>"],
    ids=["deep", "many", "empty", "open", "crossed", "two roots"],
)
def test_what_is_too_deep_too_many_or_no_xml_is_refused(document: bytes) -> None:
    with pytest.raises(BadAnswer):
        parse(document)


def test_a_long_text_is_cut() -> None:
    assert len(parse(b"<a>" + b"x" * 1_000_000 + b"</a>").value) < 10_000
    assert len(parse(b"<a>" + b"x<b/>" * 20_000 + b"</a>").value) < 10_000

"""XML of strangers as elements. Pure.

    parse(b"<s:Envelope><s:Body><tds:Model>A</tds:Model></s:Body></s:Envelope>").text("Body", "Model")

Elements are named without their namespaces. Parsers that resolve namespaces copy a long URI into each name: 346 kB of
XML fill 2.9 GiB in `xml.etree`, and `defusedxml` permits that. Declarations of types, and so all entities, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat

from tidegate.onvif.values import BadAnswer

# Answers of recorders with 128 channels have some 40,000 elements.
_MOST_ELEMENTS = 60_000
_DEEPEST = 64
_LONGEST_TEXT = 4096


class Element:
    """name: without its prefix. attributes: by name, without prefixes. value: its text before and between children."""

    __slots__ = ("attributes", "children", "name", "value")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Element] = []
        self.value = ""

    def all(self, *path: str) -> Iterator[Element]:
        """Yield the elements at this path of names, in order."""
        if not path:
            yield self
            return
        for child in self.children:
            if child.name == path[0]:
                yield from child.all(*path[1:])

    def first(self, *path: str) -> Element | None:
        """Return the first element at this path; None if there is none."""
        return next(self.all(*path), None)

    def text(self, *path: str) -> str:
        """Return the text of the first element at this path, without surrounding space; empty if there is none."""
        found = self.first(*path)
        return found.value.strip() if found else ""


class _Builder:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _MOST_ELEMENTS or len(self._open) >= _DEEPEST:
            raise BadAnswer(f"its XML has over {_MOST_ELEMENTS} elements, or {_DEEPEST} within each other")
        found = Element(_local(name), {_local(key): value[:_LONGEST_TEXT] for key, value in attributes.items()})
        if self._open:
            self._open[-1].children.append(found)
        else:
            self.root = found
        self._open.append(found)

    def end(self, name: str) -> None:
        self._open.pop()

    def data(self, text: str) -> None:
        now = self._open[-1]
        # Text comes in parts: the limit keeps their joining linear.
        if len(now.value) < _LONGEST_TEXT:
            now.value += text[:_LONGEST_TEXT]


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _refuse(*declaration: object) -> None:
    raise BadAnswer("its XML declares types or entities")


def parse(data: bytes) -> Element:
    """Return the root element. Raises BadAnswer."""
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as e:
        raise BadAnswer("it is no XML") from e
    if builder.root is None:
        raise BadAnswer("it is no XML")
    return builder.root

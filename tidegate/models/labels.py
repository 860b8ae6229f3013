"""Which labels of two detectors are of one class. Pure.

Example:
    classes = Classes.of(["motorbike", "dog"], ["motorcycle", "cat"])
    classes.name("motorbike"), classes.only_a, classes.only_b       # "motorcycle", ["dog"], ["cat"]

Case, `_` and `-` do not distinguish labels. COCO's classes have two common lists of names, its own and darknet's, which
many exports of YOLO have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Names of darknet's `coco.names` and of Pascal VOC, by those of COCO.
_KNOWN = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}


class Classes(NamedTuple):
    """The classes of detectors A and B.

    aliases: names that count as another. only_a, only_b: classes that one of them lacks, sorted.
    """

    aliases: Mapping[str, str]
    only_a: list[str]
    only_b: list[str]

    @classmethod
    def of(cls, a: Iterable[str], b: Iterable[str], aliases: Mapping[str, str] | None = None) -> Classes:
        """Return the classes of two lists of labels. aliases: of people, by label; they have priority."""
        plain_a, plain_b = {_plain(label) for label in a}, {_plain(label) for label in b}
        chosen = {_plain(label): _plain(name) for label, name in (aliases or {}).items()}
        # A list that has both names has two classes. Without the other name, there is nothing to join.
        known = {old: new for old, new in _KNOWN.items() if _joins(old, new, plain_a, plain_b)}
        merged = known | chosen
        classes_a, classes_b = ({merged.get(label, label) for label in labels} for labels in (plain_a, plain_b))
        return cls(merged, sorted(classes_a - classes_b), sorted(classes_b - classes_a))

    def name(self, label: str) -> str:
        """Return the class of a label."""
        plain = _plain(label)
        return self.aliases.get(plain, plain)


def _plain(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").replace("-", " ").split())


def _joins(old: str, new: str, a: set[str], b: set[str]) -> bool:
    return any(old in one and new in other and new not in one and old not in other for one, other in ((a, b), (b, a)))

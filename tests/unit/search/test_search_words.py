"""Labels that a text asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cv import coco
from services.search.words import named_labels
from tests.support.effort import assert_cheap

LABELS = list(coco.LABELS)
OWN_PLURALS = {"person": "people", "sheep": "sheep", "knife": "knives", "mouse": "mice", "skis": "skis"} | {
    "scissors": "scissors",
    "broccoli": "broccoli",
}
ADD_ES = ("ch", "sh", "ss", "bus")


def plural(label: str) -> str:
    return OWN_PLURALS.get(label) or label + ("es" if label.endswith(ADD_ES) else "s")


def test_each_label_finds_only_itself() -> None:
    joined = [name.replace(" ", "_") for name in LABELS]
    wrong: dict[str, list[str]] = {}
    for label in LABELS:
        for text in (label, label.upper(), plural(label), f"three {plural(label)}, at night"):
            if (found := named_labels(text, LABELS)) != [label]:
                wrong[text] = found
        if (found := named_labels(plural(label), joined)) != [label.replace(" ", "_")]:
            wrong[f"{label} of joined words"] = found
    assert wrong == {}


@given(st.lists(st.sampled_from(LABELS), unique=True, max_size=6), st.booleans())
def test_labels_come_in_order_of_appearance(labels: list[str], many: bool) -> None:
    text = " and ".join(plural(label) if many else label for label in labels)
    assert named_labels(f"{text}; {text}", LABELS) == labels


@given(st.text(alphabet="abes -_'Ä", max_size=30), st.sets(st.text(alphabet="abes -_", max_size=5)))
def test_only_known_labels_and_every_known_one(text: str, existing: set[str]) -> None:
    found = named_labels(text, existing)
    assert set(found) <= existing
    assert len(found) == len(set(found))
    for label in existing:
        if label.strip(" -_"):
            assert label in named_labels(label, existing)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("a man on a bicycle", ["person", "bicycle"]),
        ("Two MEN, three women and children with bikes", ["person", "bicycle"]),
        ("cyclists", ["person", "bicycle"]),
        ("a motorcyclist", ["person", "motorcycle"]),
        ("the lorry behind the tram", ["truck", "train"]),
        ("somebody on the phone, on a sofa", ["person", "cell phone", "couch"]),
        ("a hot dog beside a teddy bear", ["hot dog", "teddy bear"]),
        ("traffic lights", ["traffic light"]),
        ("people at the bus stop", ["person"]),
        ("buses at the bus stop", ["bus"]),
        ("the man's dog", ["person", "dog"]),
        ("vehicles", ["car", "truck", "bus", "motorcycle"]),
        ("carpet, catalogue, doghouse, caring", []),
        ("", []),
    ],
)
def test_everyday_words(text: str, labels: list[str]) -> None:
    assert named_labels(text, LABELS) == labels


def test_a_synonym_gives_only_known_labels() -> None:
    assert named_labels("a cyclist", ["person", "dog"]) == ["person"]
    assert named_labels("a lorry and a sofa", ["lorry", "truck"]) == ["lorry"]
    assert named_labels("a man", ["dog"]) == []


def test_the_cost_is_linear_in_the_number_of_labels() -> None:
    """Each was compared with each everyday word, in a loop that answers everybody else too."""
    existing = "frozenset(f'label {n}' for n in range(400_000))"
    assert_cheap("from services.search.words import named_labels", f"named_labels('two men and a dog', {existing})")

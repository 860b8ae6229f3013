"""Which labels of two detectors are of one class."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.cv import coco
from tidegate.models.labels import Classes

LABELS = st.lists(st.sampled_from(["person", "motorbike", "motorcycle", "sofa", "couch", "Dog", "traffic_light"]))


def test_darknets_names_of_coco_are_those_of_coco() -> None:
    old = {"motorcycle": "motorbike", "airplane": "aeroplane", "couch": "sofa", "tv": "tvmonitor"}
    old |= {"potted plant": "pottedplant", "dining table": "diningtable"}
    classes = Classes.of([old.get(label, label) for label in coco.LABELS], coco.LABELS)
    assert classes.only_a == classes.only_b == []
    assert classes.name("tvmonitor") == "tv" and len(classes.aliases) == 6


def test_a_list_with_both_names_has_two_classes() -> None:
    classes = Classes.of(["motorbike", "motorcycle"], ["motorcycle"])
    assert classes.only_a == ["motorbike"] and not classes.aliases


def test_case_and_separators_do_not_distinguish_labels() -> None:
    classes = Classes.of(["Traffic_Light"], ["traffic light"])
    assert classes.only_a == classes.only_b == [] and classes.name("TRAFFIC-LIGHT") == "traffic light"


def test_an_alias_joins_two_names_and_has_priority() -> None:
    classes = Classes.of(["bike", "sofa"], ["bicycle", "couch"], {"bike": "bicycle", "sofa": "settee"})
    assert classes.name("bike") == "bicycle" and classes.name("sofa") == "settee"
    assert (classes.only_a, classes.only_b) == (["settee"], ["couch"])


@given(LABELS, LABELS)
def test_exchanging_the_detectors_exchanges_their_classes(a: list[str], b: list[str]) -> None:
    one, other = Classes.of(a, b), Classes.of(b, a)
    assert (one.only_a, one.only_b) == (other.only_b, other.only_a)
    assert [one.name(label) for label in (*a, *b)] == [other.name(label) for label in (*a, *b)]

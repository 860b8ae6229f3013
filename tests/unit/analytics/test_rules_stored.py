"""Rules are read back as they were stored, and the schema refuses malformed ones."""

from __future__ import annotations

import copy
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract import rules
from shared.contract.rules import Rules
from tests.support.schemas import ValidationError, Validator
from tests.support.worlds.rule_files import MISTAKEN, SCHEMA, VALID, valid

names = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
shares = st.floats(0, 1)
prompts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.just("a\x7f\x85\u2028b")


@st.composite
def filters(draw: st.DrawFn) -> dict[str, float]:
    least, most = sorted([draw(shares), draw(shares | st.sampled_from([1e-5, 1e-6, 1e-7, 5e-324]))])
    return {"min_area": least, "max_area": most, "min_score": draw(shares)}


@st.composite
def books(draw: st.DrawFn) -> Rules:
    """Rules that are right."""
    value = copy.deepcopy(valid())
    value["rules"] = draw(st.lists(st.sampled_from(value["rules"]), unique_by=lambda r: r["id"]))
    for rule in value["rules"]:
        rule |= draw(st.fixed_dictionaries({}, optional={"verify": prompts, "hold_s": st.floats(0, 1e4)}))
    del value["labels"]
    value["filters"] = draw(st.dictionaries(prompts, filters(), max_size=3))
    name, key = draw(names), draw(st.sampled_from(["zones", "lines", "schedules"]))
    value[key][name] = next(iter(value[key].values()))
    return msgspec.convert(value, Rules)


@given(books())
def test_stored_rules_are_read_back(book: Rules) -> None:
    assert rules.decode(rules.encode(book)) == book
    assert rules.check(msgspec.json.decode(rules.encode(book))) == []


def test_the_schema_accepts_valid_rules() -> None:
    Validator.check_schema(SCHEMA)
    validator = Validator(SCHEMA)
    validator.validate(valid())
    validator.validate({})
    validator.validate(json.loads(rules.encode(rules.read(VALID.encode(), "a file"))))


def _refused_by_form() -> list[str]:
    found = []
    for text, _, part in MISTAKEN:
        # A schema knows nothing of numbers that JSON has not, nor of the meaning of what is well formed.
        if "neither" in part or ".nan" in text or "12:" in text:
            continue
        value = msgspec.yaml.decode(text)
        try:
            msgspec.convert(value, Rules)
        except msgspec.ValidationError:
            found.append(text)
    return found


@pytest.mark.parametrize("text", _refused_by_form())
def test_the_schema_refuses_malformed_rules(text: str) -> None:
    with pytest.raises(ValidationError):
        Validator(SCHEMA).validate(msgspec.yaml.decode(text))

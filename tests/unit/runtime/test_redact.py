"""Credentials are hidden whatever the text, at a cost that grows with its length alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.runtime.redact import MOST, redact
from tests.support.effort import assert_cheap
from tests.support.hostile_texts import HOSTILE

# What was hidden before the scanner had one pass: the patterns say what a credential is, at a cost of the length cubed.
_NAMES = (
    r"pass(?:word|wd)?|pwd|psw|pw|user(?:name)?|usr|login(?:use|pas|pass)?|(?:access_)?token|auth|secret|(?:api_?)?key"
)
_SECRETS = rf"(?:{_NAMES})="
_PATTERNS = (
    (re.compile(r"(?P<key>[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s'\"]*@"), r"\g<key>***@"),
    (re.compile(rf"(?i)(?P<key>://[^\s'\"?]*?/(?:[^\s'\"?]*?[/_;])?{_SECRETS})[^\s'\"]*"), r"\g<key>***"),
    (re.compile(rf"(?i)(?P<key>[?&]{_SECRETS})[^&\s'\"]*"), r"\g<key>***"),
)


def by_patterns(text: str) -> str:
    for pattern, hidden in _PATTERNS:
        text = pattern.sub(hidden, text)
    return text


# Texts of what the patterns look for, and of letters of a script that no pattern names: each of these stands once in a
# text, so that what is left of them tells what was hidden.
_MARKS = [
    "://",
    "rtsp://",
    "@",
    "/",
    "?",
    "&",
    "_",
    ";",
    ":",
    "pass=",
    "Password=",
    "user=",
    "KEY=",
    " ",
    "'",
    '"',
    "\n",
]
_texts = st.lists(st.sampled_from([*_MARKS, "letter"]), max_size=40).map(
    lambda parts: "".join(chr(0x4E00 + n) if part == "letter" else part for n, part in enumerate(parts))
)


@pytest.mark.parametrize(
    "query", ["loginuse=me&loginpas=S3cret", "usr=me&psw=S3cret", "pw=S3cret", "access_token=S3cret", "api_key=S3cret"]
)
def test_password_parameters_of_cameras_are_hidden(query: str) -> None:
    assert "S3cret" not in redact(f"rtsp://10.0.0.7/live?channel=1&{query}&stream=0")


def test_a_password_in_the_path_may_hold_an_at_sign() -> None:
    """The text after the sign once passed for the host."""
    assert "cret" not in redact("rtsp://10.0.0.7/user=me_password=S3@cret_channel=1")
    assert redact("rtsp://me:a/pass=b@10.0.0.7/live") == "rtsp://***"


def letters(text: str) -> set[str]:
    return {c for c in text if c >= "\u4e00"}


@given(_texts)
@example("://a://pass=\u4e00")
@example("x://\u4e00@\u4e01?://\u4e02/pass=\u4e03")
def test_matches_of_the_patterns_are_hidden(text: str) -> None:
    assert letters(redact(text)) <= letters(by_patterns(text))


_words = st.text("abcXYZ019-.", min_size=1, max_size=8)
_urls = st.builds(
    lambda scheme, userinfo, host, path, query: f"{scheme}://{userinfo}{host}{path}{query}",
    st.sampled_from(["rtsp", "rtsps", "http", "nats"]),
    st.one_of(
        st.just(""), st.builds("{}@".format, _words), st.builds("{}:{}@".format, _words, st.text("ab@/:!", max_size=9))
    ),
    _words,
    st.lists(_words, max_size=3).map(lambda parts: "".join(f"/{part}" for part in parts)),
    st.lists(st.tuples(st.sampled_from(["token", "channel", "pwd", "x"]), _words), max_size=3).map(
        lambda pairs: "?" * bool(pairs) + "&".join(f"{k}={v}" for k, v in pairs)
    ),
)


@given(st.lists(st.one_of(_urls, _words), max_size=5))
def test_only_the_credentials_of_an_ordinary_url_are_hidden(words: list[str]) -> None:
    text = " ".join(words)
    assert redact(text) == by_patterns(text)


@given(_texts, st.integers(0, 60))
@example("rtsp://\u4e00:\u4e01@\u4e02", 9)
@example("://://pass=@\u4e00", 13)
def test_truncated_text_reveals_nothing_hidden_in_the_whole(text: str, most: int) -> None:
    cut = redact(text, most)
    assert letters(cut) <= letters(by_patterns(text))
    assert len(text) <= most or letters(cut) <= letters(text[:most])


def test_a_truncated_password_is_hidden() -> None:
    text = "x" * (MOST - len(" rtsp://admin:hun")) + " rtsp://admin:hunter2@10.0.0.7/stream"
    assert redact(text).endswith("x rtsp://***…")


@pytest.mark.parametrize("n", range(len(HOSTILE)))
def test_hostile_text_takes_one_pass(n: int) -> None:
    imports = "from shared.runtime.redact import redact; from tests.support.hostile_texts import HOSTILE"
    assert_cheap(imports, f"redact(HOSTILE[{n}], len(HOSTILE[{n}]))")

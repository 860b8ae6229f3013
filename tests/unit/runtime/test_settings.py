"""Settings: names, former names, errors that say what a variable should hold, and secrets from files."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from shared.runtime.errors import SettingError
from shared.runtime.settings import FORMER, describe, from_environment, load, misspelt
from tools.reference import settings as settings_page


class Example(msgspec.Struct, frozen=True):
    example_count: Annotated[int, Meta(ge=1, description="how many")] = 3
    example_password: str = ""
    example_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    example_mode: Literal["all", "some"] = "all"
    example_name: Annotated[str, Meta(pattern="^[a-z]+$")] = "a"
    example_text: Annotated[str, Meta(max_length=4)] = ""


def test_errors_name_the_variable() -> None:
    assert load(Example, {}).example_count == 3
    assert load(Example, {"EXAMPLE_COUNT": "5"}).example_count == 5
    assert "EXAMPLE_COUNT" in describe(Example)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("EXAMPLE_COUNT", "many", "a whole number from 1 (how many)"),
        ("EXAMPLE_COUNT", "0", "a whole number from 1 (how many)"),
        ("EXAMPLE_SHARE", "1.5", "a number over 0 up to 1"),
        ("EXAMPLE_SHARE", "inf", "a number over 0 up to 1"),
        ("EXAMPLE_SHARE", "nan", "a number over 0 up to 1"),
        ("EXAMPLE_MODE", "fast", "'all' or 'some'"),
        ("EXAMPLE_NAME", "Höhe", "what matches ^[a-z]+$"),
        ("EXAMPLE_TEXT", "12345", "a text of at most 4 characters"),
    ],
)
def test_an_error_states_the_expected_value_of_a_variable(name: str, value: str, wanted: str) -> None:
    with pytest.raises(SettingError, match=re.escape(f"{name}={value!r} can't be used: give {wanted}") + "$"):
        load(Example, {name: value})


def test_a_misspelt_variable_is_reported_and_a_foreign_one_is_not() -> None:
    environ = {"EXAMPLE_COUNTS": "5", "EXAMPLE_COUNT": "4", "EXAMPLE_PORT": "tcp://10.0.0.1:80", "XEXAMPLE_COUNT": "3"}
    assert misspelt(Example, environ) == {"EXAMPLE_COUNTS": "EXAMPLE_COUNT"}


class Renamed(msgspec.Struct, frozen=True, kw_only=True):
    cv_static_scene_refresh_s: float = 10.0


def test_a_setting_s_former_name_is_read_and_a_warning_names_the_present_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cv"])
    monkeypatch.setenv("CV_WATCH_S", "4")
    assert from_environment(Renamed, "services.cv", "").cv_static_scene_refresh_s == 4.0
    assert capsys.readouterr().err.splitlines() == [
        "cv: CV_WATCH_S is now CV_STATIC_SCENE_REFRESH_S: rename it before the next release"
    ]
    monkeypatch.setenv("CV_STATIC_SCENE_REFRESH_S", "5")
    assert from_environment(Renamed, "services.cv", "").cv_static_scene_refresh_s == 5.0


def test_former_names_of_settings_are_read_by_their_services() -> None:
    structs = settings_page.found().values()
    present = {name.upper() for struct in structs for name in struct.__struct_fields__}
    assert set(FORMER.values()) <= present
    assert not set(FORMER) & present


def test_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("s3cret\n")
    assert load(Example, {"EXAMPLE_PASSWORD_FILE": str(tmp_path / "p")}).example_password == "s3cret"
    with pytest.raises(SettingError, match="EXAMPLE_PASSWORD_FILE"):
        load(Example, {"EXAMPLE_PASSWORD_FILE": str(tmp_path / "none")})
    assert load(Example, {"EXAMPLE_PASSWORD_FILE": f"-{tmp_path / 'p'}"}).example_password == "s3cret"
    assert load(Example, {"EXAMPLE_PASSWORD_FILE": f"-{tmp_path / 'none'}"}).example_password == ""
    with pytest.raises(SettingError, match="Is a directory"):
        load(Example, {"EXAMPLE_PASSWORD_FILE": f"-{tmp_path}"})
    (tmp_path / "p").write_bytes(b"\xe9s3cret")
    with pytest.raises(SettingError, match=r"EXAMPLE_PASSWORD_FILE=.*a file of text"):
        load(Example, {"EXAMPLE_PASSWORD_FILE": str(tmp_path / "p")})

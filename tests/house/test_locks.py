"""The locks hold what pyproject.toml asks for, in the same versions everywhere, with hashes and without an address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

LOCKS = ROOT / "requirements"
PYTHONS = ("3.11", "3.12", "3.13")
# The extras that each lock is made of, as the Makefile says.
EXTRAS = {
    "base": (),
    "server": ("server",),
    "demo": ("demo",),
    "test": ("test",),
    "image": (
        "cv",
        "embed",
        "search",
        "vlm",
        "sagemaker",
        "analytics",
        "webhook",
        "scaler",
        "console",
        "otel",
        "recorder",
        "server",
    ),
    "image-small": ("analytics", "webhook", "scaler", "vlm", "sagemaker", "console", "recorder"),
}
REMEDY = "run make lock"

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


class Pin(NamedTuple):
    """requirement: with its version and marker. hashes: of its files. direct: whether pyproject.toml asks for it."""

    requirement: Requirement
    hashes: int
    direct: bool


def pins(lock: str) -> list[Pin]:
    entries = re.split(r"^(?=[A-Za-z0-9])", (LOCKS / f"{lock}.txt").read_text(), flags=re.MULTILINE)[1:]
    return [
        Pin(
            Requirement(entry.splitlines()[0].rstrip(" \\")),
            entry.count("--hash=sha256:"),
            "tidegate (pyproject.toml)" in entry,
        )
        for entry in entries
    ]


def requirements(extras: tuple[str, ...]) -> list[Requirement]:
    """The requirements of pyproject.toml with these extras, and with the extras that they include."""
    found: list[Requirement] = []
    for text in [*PROJECT["dependencies"], *(t for e in extras for t in PROJECT["optional-dependencies"][e])]:
        requirement = Requirement(text)
        if requirement.name == "tidegate":
            found += requirements(tuple(requirement.extras))
        else:
            found.append(requirement)
    return found


def chosen(lock: str, python: str) -> dict[str, Pin]:
    """The pins of a lock that one Python on Linux takes, by name."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    applying = [p for p in pins(lock) if p.requirement.marker is None or p.requirement.marker.evaluate(environment)]
    by_name = {canonicalize_name(p.requirement.name): p for p in applying}
    assert len(by_name) == len(applying), f"two versions of one package: {REMEDY}"
    return by_name


def version(pin: Pin) -> str:
    (specifier,) = pin.requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", EXTRAS)
def test_a_lock_has_the_present_requirements_only(lock: str, python: str) -> None:
    held = chosen(lock, python)
    wanted = requirements(EXTRAS[lock])
    for requirement in wanted:
        pin = held.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement} is missing: {REMEDY}"
        assert version(pin) in requirement.specifier, f"{requirement} is held at {version(pin)}: {REMEDY}"
    direct = {name for name, pin in held.items() if pin.direct}
    assert direct == {canonicalize_name(r.name) for r in wanted}, REMEDY


@pytest.mark.parametrize("lock", [lock for lock in EXTRAS if lock != "test"])
def test_every_lock_is_a_subset_of_the_lock_of_tests(lock: str) -> None:
    for python in PYTHONS:
        versions = {name: version(pin) for name, pin in chosen("test", python).items()}
        for name, pin in chosen(lock, python).items():
            assert versions.get(name) == version(pin), f"{pin.requirement} is not what is tested: {REMEDY}"


def test_the_images_install_all_but_torch_from_their_locks() -> None:
    """Without arguments the large one, and the small one by those that the file's first lines show."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    shown = (
        re.search(r"^ARG LOCK=(\S+)\nARG EXTRAS=(\S+)$", dockerfile, re.MULTILINE),
        re.search(r"--build-arg LOCK=(\S+) --build-arg EXTRAS=(\S+) \.$", dockerfile, re.MULTILINE),
    )
    for found in shown:
        assert found
        lock, extras = found.groups()
        assert set(EXTRAS[lock]) == {extra.removesuffix("-torch") for extra in extras.split(",")}


@pytest.mark.parametrize("path", sorted(LOCKS.glob("*")), ids=lambda p: p.name)
def test_a_lock_is_checked_by_hashes_and_names_no_host(path: Path) -> None:
    assert path.stem in EXTRAS
    assert "://" not in path.read_text() and path.stat().st_size < 1_000_000
    assert all(pin.hashes for pin in pins(path.stem))
    names = {canonicalize_name(pin.requirement.name) for pin in pins(path.stem)}
    assert not names & {"torch", "torchvision", "vllm"}, "machines differ in theirs"

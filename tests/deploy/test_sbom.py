"""The bill of materials of a lock file; tests/deploy/test_image.py has that of an image."""

from __future__ import annotations

import json
import re

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.support.paths import ROOT
from tools.image import sbom
from tools.image.build import KINDS

REQUIREMENTS = ROOT / "requirements"
CREATED = "2026-11-24T13:00:00.123456789Z"


@pytest.mark.slow
@pytest.mark.parametrize("lock", sorted({kind.lock for kind in KINDS.values()}))
def test_a_lock_file_is_listed_with_every_hash(lock: str) -> None:
    text = (REQUIREMENTS / f"{lock}.txt").read_text()
    built = sbom.of_lock(lock, text, CREATED)
    assert built == sbom.of_lock(lock, text, CREATED)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(built) is None
    parts = json.loads(built)["components"]
    assert {(p["name"], p["version"]) for p in parts} == set(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    hashes = [h["content"] for p in parts for r in p["externalReferences"] for h in r["hashes"]]
    assert sorted(set(hashes)) == sorted(set(re.findall(r"sha256:([0-9a-f]{64})", text)))


def test_two_versions_of_a_package_are_distinguished_by_their_conditions() -> None:
    text = (
        "a==1 ; python_version < '3.12' --hash=sha256:" + "0" * 64 + "\na==2 ; python_version >= '3.12'\n    # via b\n"
    )
    first, second = json.loads(sbom.of_lock("x", text, CREATED))["components"]
    assert (first["version"], second["version"]) == ("1", "2")
    assert first["properties"] == [{"name": "python:marker", "value": 'python_version < "3.12"'}]
    assert first["bom-ref"] != second["bom-ref"]

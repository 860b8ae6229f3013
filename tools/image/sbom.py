"""`python -m tools.image.sbom`: the content of the images and of their lock files, as CycloneDX 1.6.

    python -m tools.image.sbom --to dist/sbom small cpu

writes `image-NAME.cdx.json`, with Python's and Debian's packages in the image, and `lock-NAME.cdx.json`, with what its
lock file allows and the hashes. The same image gives the same file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.image.build import KINDS, tag, version
from tools.image.engine import Engine

INDENT = 1


def of_image(engine: Engine, name: str) -> str:
    """Return the bill of materials of an image in the store."""
    inspected = json.loads(engine.run("podman", "image", "inspect", tag(name), quiet=True))[0]
    root = Path(engine.run("podman", "image", "mount", tag(name), quiet=True))
    try:
        subject = Component(
            name=f"tidegate-{name}",
            version=version(),
            type=ComponentType.CONTAINER,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=inspected["Id"])],
            bom_ref=f"image:{name}",
        )
        (site_packages,) = root.glob("opt/tidegate/lib/python3.*/site-packages")
        found = list(distributions(path=[str(site_packages)]))
        parts = [of_distribution(d) for d in found]
        bom = _bom(subject, [*parts, of_interpreter(root), *of_debian(root)], inspected["Created"])
        _register_dependencies(bom, found)
    finally:
        engine.run("podman", "image", "unmount", tag(name), quiet=True)
    return _written(bom)


def of_lock(name: str, text: str, created: str) -> str:
    """Return the bill of materials of a lock file's text."""
    subject = Component(name=f"requirements/{name}.txt", version=version(), bom_ref=f"lock:{name}")
    return _written(_bom(subject, locked(text), created))


def locked(text: str) -> Iterator[Component]:
    """Yield a component for each entry of a lock file. A package with several versions has one for each marker."""
    for entry in re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^\s*#.*\n", "", text)).splitlines():
        line, *hashes = entry.split(" --hash=")
        if not line.strip():
            continue
        requirement = Requirement(line)
        (pinned,) = requirement.specifier
        component = _python(requirement.name, pinned.version)
        component.external_references.update(_distributions(component, hashes))
        if requirement.marker:
            component.properties.add(Property(name="python:marker", value=str(requirement.marker)))
            component.bom_ref.value = f"{component.purl}; {requirement.marker}"
        yield component


def of_distribution(found: Distribution) -> Component:
    """Return the component of an installed Python package."""
    component = _python(found.name, found.version)
    component.description = _first(found, "Summary") or None
    # Authors write an SPDX expression, a name, or the whole text of the license.
    license_name = _first(found, "License-Expression") or _first(found, "License").strip().partition("\n")[0]
    classified = [
        c.rpartition(" :: ")[2] for c in found.metadata.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    if name := license_name or " AND ".join(classified):
        component.licenses.add(LicenseFactory().make_from_string(name))
    return component


def _first(found: Distribution, field: str) -> str:
    return next(iter(found.metadata.get_all(field) or []), "")


def of_interpreter(root: Path) -> Component:
    """Return the component of Python itself, which is not always a Debian package."""
    (found,) = re.findall(r"^version = (\S+)$", (root / "opt/tidegate/pyvenv.cfg").read_text(), re.MULTILINE)
    purl = PackageURL("generic", None, "python", found)
    return Component(name="python", version=found, type=ComponentType.PLATFORM, purl=purl, bom_ref=str(purl))


def of_debian(root: Path) -> Iterator[Component]:
    """Yield a component for each package that dpkg has installed below a root."""
    release = (root / "etc/os-release").read_text()
    codename = re.findall(r"^VERSION_CODENAME=(.*)$", release, re.MULTILINE)
    for paragraph in (root / "var/lib/dpkg/status").read_text().strip().split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
        if not fields["Status"].endswith(" installed"):
            continue
        at = {"arch": fields["Architecture"], "distro": codename[0]} if codename else {"arch": fields["Architecture"]}
        purl = PackageURL("deb", "debian", fields["Package"], fields["Version"], at)
        yield Component(
            name=fields["Package"],
            version=fields["Version"],
            type=ComponentType.LIBRARY,
            description=fields.get("Description"),
            purl=purl,
            bom_ref=str(purl),
        )


def _python(name: str, found: str) -> Component:
    purl = PackageURL("pypi", None, canonicalize_name(name), found)
    return Component(name=canonicalize_name(name), version=found, purl=purl, bom_ref=str(purl))


def _distributions(of: Component, hashes: Iterable[str]) -> Iterator[ExternalReference]:
    """Yield a reference for each file that may be installed; each has its own hash."""
    for found in hashes:
        content = found.strip().removeprefix("sha256:")
        yield ExternalReference(
            type=ExternalReferenceType.DISTRIBUTION,
            url=XsUri(str(of.purl)),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=content)],
        )


def _bom(subject: Component, parts: Iterable[Component], created: str) -> Bom:
    bom = Bom(components=parts)
    bom.metadata.component = subject
    # Neither the time nor the serial number depends on when this program runs.
    bom.metadata.timestamp = dt.datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", created))
    listed = " ".join(sorted(str(part.bom_ref) for part in bom.components))
    bom.serial_number = uuid5(NAMESPACE_URL, f"{subject.bom_ref} {listed}")
    bom.register_dependency(subject, bom.components)
    return bom


def _register_dependencies(bom: Bom, found: Iterable[Distribution]) -> None:
    """Register which Python package requires which, for packages that are both present."""
    by_name = {part.name: part for part in bom.components if part.purl and part.purl.type == "pypi"}
    for each in found:
        needed = [Requirement(text) for text in each.requires or []]
        there = [by_name[n] for n in {canonicalize_name(r.name) for r in needed} if n in by_name]
        bom.register_dependency(by_name[canonicalize_name(each.name)], there)


def _written(bom: Bom) -> str:
    text: str = JsonV1Dot6(bom).output_as_string(indent=INDENT)
    return text + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", choices=KINDS)
    parser.add_argument("--folder", type=Path, default=Path(".images"))
    parser.add_argument("--to", type=Path, default=Path("dist/sbom"))
    args = parser.parse_args()
    engine = Engine(args.folder)
    args.to.mkdir(parents=True, exist_ok=True)
    for name in args.images:
        if not engine.has(tag(name)):
            raise SystemExit(f"{tag(name)} was not built: make image IMAGES={name}")
        lock = KINDS[name].lock
        created = json.loads(engine.run("podman", "image", "inspect", tag(name), quiet=True))[0]["Created"]
        texts = {f"image-{name}": of_image(engine, name)}
        texts[f"lock-{name}"] = of_lock(lock, Path(f"requirements/{lock}.txt").read_text(), created)
        for stem, text in texts.items():
            path = args.to / f"{stem}.cdx.json"
            path.write_text(text)
            print(f"{path}: {len(json.loads(text)['components'])} components")


if __name__ == "__main__":
    main()

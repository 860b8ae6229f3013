"""`python -m tools.image.build`: the images of deploy/Dockerfile, and their sizes.

    python -m tools.image.build --base debian small cpu

Each image is tagged `tidegate-NAME:VERSION`. Sizes are of the compressed layers, which a registry and a node transfer.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import msgspec

from tools.image.engine import Engine

MB = 1_000_000
DEBIAN = "localhost/tidegate-base:trixie"
DOCKERFILE = Path("deploy/Dockerfile")
# Files that pip needs on a machine with its own package index.
MOUNTS = ("/etc/ssl/certs", "/etc/pip.conf")


class Kind(msgspec.Struct, frozen=True):
    """An image: its lock file, its extras, and the maximum size of its compressed layers."""

    lock: str
    extras: str
    most_mb: int


KINDS = {
    "small": Kind("image-small", "analytics,webhook,scaler,vlm,sagemaker,console,recorder", 280),
    # Every service, its models on a CPU.
    "cpu": Kind("image", "cv,embed,search,vlm,sagemaker,analytics,webhook,scaler,console,otel,recorder,server", 600),
    "gpu": Kind(
        "image", "cv-torch,embed-torch,search,vlm,sagemaker,analytics,webhook,scaler,console,otel,recorder,server", 9000
    ),
}


def version() -> str:
    return str(tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"])


def tag(name: str) -> str:
    return f"localhost/tidegate-{name}:{version()}"


def build(engine: Engine, name: str, on: str) -> None:
    kind = KINDS[name]
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    build_args = {
        "BASE": on,
        "LOCK": kind.lock,
        "EXTRAS": kind.extras,
        "VERSION": version(),
        "REVISION": revision or "unknown",
    }
    arguments = [f"--build-arg={key}={value}" for key, value in build_args.items()]
    mounts = [f"--volume={path}:{path}:ro" for path in MOUNTS if Path(path).exists()]
    # Only Docker's format stores HEALTHCHECK.
    engine.run(
        "buildah", "build", "--isolation=chroot", "--network=host", "--format=docker",
        f"--layers={str(engine.overlays).lower()}", *mounts, *arguments,
        f"--file={DOCKERFILE}", f"--tag={tag(name)}", ".",
    )  # fmt: skip


def layers_mb(engine: Engine, name: str) -> list[float]:
    """Return the megabytes of the compressed layers: the base, the dependencies, our code, and smaller ones."""
    folder = engine.folder / f"{name}.oci"
    shutil.rmtree(folder, ignore_errors=True)
    engine.run("podman", "push", "--quiet", tag(name), f"oci:{folder}", quiet=True)
    blobs = folder / "blobs" / "sha256"
    index = json.loads((folder / "index.json").read_text())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].removeprefix("sha256:")).read_text())
    shutil.rmtree(folder)
    return [layer["size"] / MB for layer in manifest["layers"]]


def official() -> str:
    """Return the base image that the Dockerfile names, by its digest."""
    found = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found
    return found[1]


def chosen_base(engine: Engine, choice: str) -> str:
    """Return the base image for a choice: `debian`, which needs no registry; `official`; or a name."""
    if choice == "official":
        return official()
    if choice != "debian":
        return choice
    if not engine.has(DEBIAN):
        _debian(engine)
    return DEBIAN


def _debian(engine: Engine) -> None:
    """Build an image of Debian 13 with its own Python and certificates, and nothing else."""
    if not shutil.which("mmdebstrap"):
        sys.exit("mmdebstrap: not installed. On Debian: apt-get install --no-install-recommends mmdebstrap")
    tar = engine.folder / "base.tar"
    packages = "--include=python3,python3-venv,ca-certificates"
    # Python's official image does not have these either.
    excludes = [
        f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info", "zoneinfo/right")
    ]
    engine.run("mmdebstrap", "--variant=minbase", packages, *excludes, "trixie", str(tar))
    engine.run("podman", "import", "--quiet", str(tar), DEBIAN)
    tar.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", choices=KINDS)
    parser.add_argument("--base", default="official", help="debian, official, or the name of an image")
    parser.add_argument("--folder", type=Path, default=Path(".images"))
    args = parser.parse_args()
    engine = Engine(args.folder)
    on = chosen_base(engine, args.base)
    for name in args.images:
        began = time.monotonic()
        build(engine, name, on)
        layers = layers_mb(engine, name)
        most, seconds = KINDS[name].most_mb, time.monotonic() - began
        print(
            f"{tag(name)}: {sum(layers):.0f} MB compressed (at most {most}), our code {layers[2]:.1f}; {seconds:.0f} s"
        )
        if sum(layers) > most:
            raise SystemExit(f"{tag(name)} is larger than it may be")


if __name__ == "__main__":
    main()

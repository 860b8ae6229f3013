"""`python -m tools.release`: the artefacts of a tag, in one folder.

    python -m tools.release --untagged --images        # a rehearsal without images

It builds the sdist, and the wheel of that; the manifests and compose files as an archive; a bill of materials of each
lock file, as CycloneDX; the images if buildah and podman are installed; and SHA256SUMS of all. Of the same commit all
but the images come out the same.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tools.image import build as image
from tools.image import sbom
from tools.image.engine import NEEDED, Engine
from tools.release import version

MB = 1_000_000
# Locks that an installation is made of. The other ones are of tests.
LOCKS = ("base", "server", "demo", "image", "image-small")
DEPLOYED = ("deploy", "compose.yaml", "compose.gpu.yaml", "LICENSE")


def check(root: Path, *, untagged: bool, dirty: bool) -> None:
    """Refuse a tree that no tag describes. Raises SystemExit with the remedy."""
    tag = f"v{version.of(root)}"
    if not dirty and (changed := _git(root, "status", "--porcelain")):
        names = ", ".join(line.split(maxsplit=1)[1] for line in changed.splitlines()[:5])
        sys.exit(f"the tree has changes that no commit has ({names}): commit them, or rehearse with ALLOW=dirty")
    if not untagged and tag not in _git(root, "tag", "--points-at", "HEAD").splitlines():
        sys.exit(f"the commit has no tag {tag}: git tag -a {tag}, or rehearse with ALLOW=untagged")


def packages(root: Path, to: Path, epoch: int) -> None:
    """Build the sdist and the wheel of a copy: a build walks all of a checkout, ignored folders too."""
    with tempfile.TemporaryDirectory() as copy:
        for name in _files(root):
            target = Path(copy) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target)
        _uv("build", "--quiet", "--out-dir", str(to), copy, SOURCE_DATE_EPOCH=str(epoch))
    (to / ".gitignore").unlink(missing_ok=True)


def manifests(root: Path, to: Path, epoch: int) -> None:
    """Write what a cluster and compose need, with one owner and one time."""
    name = f"tidegate-deploy-{version.of(root)}"
    with (
        (to / f"{name}.tar.gz").open("wb") as out,
        gzip.GzipFile("", "wb", fileobj=out, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for file in _files(root, *DEPLOYED):
            entry = archive.gettarinfo(root / file, f"{name}/{file}")
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime, entry.mode = epoch, entry.mode & 0o755 | 0o644
            with (root / file).open("rb") as content:
                archive.addfile(entry, content)


def bills(root: Path, to: Path, epoch: int) -> None:
    """Write what each lock file allows, with hashes."""
    created = dt.datetime.fromtimestamp(epoch, dt.UTC).isoformat()
    for lock in LOCKS:
        text = sbom.of_lock(lock, (root / f"requirements/{lock}.txt").read_text(), created)
        (to / f"lock-{lock}.cdx.json").write_text(text)


def images(to: Path, names: list[str], base: str) -> str:
    """Build images with a bill of materials each. Return why there are none; empty: there are."""
    if not names:
        return "no image was requested"
    if missing := [program for program in NEEDED if not shutil.which(program)]:
        return f"{', '.join(missing)}: not installed"
    engine = Engine(Path(".images"))
    on = image.chosen_base(engine, base)
    for name in names:
        image.build(engine, name, on)
        archive = to / f"tidegate-{name}-{image.version()}.oci.tar"
        engine.run("podman", "push", "--quiet", image.tag(name), f"oci-archive:{archive.resolve()}")
        (to / f"image-{name}.cdx.json").write_text(sbom.of_image(engine, name))
    return ""


def try_wheel(wheel: Path, expected: str) -> None:
    """Install the wheel into an environment of its own and run it there. Raises SystemExit."""
    with tempfile.TemporaryDirectory() as folder:
        _uv("venv", "--quiet", "--python", sys.executable, f"{folder}/venv")
        _uv("pip", "install", "--quiet", "--python", f"{folder}/venv/bin/python", str(wheel))
        command = [f"{folder}/venv/bin/tidegate", "--version"]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip().endswith(f" {expected}"):
        sys.exit(f"the wheel does not run: {done.stdout}{done.stderr}")


def sums(to: Path) -> list[Path]:
    """Write SHA256SUMS, which `sha256sum -c` reads. Return the files."""
    files = sorted(path for path in to.iterdir() if path.name != "SHA256SUMS")
    lines = []
    for path in files:
        with path.open("rb") as content:
            lines.append(f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {path.name}\n")
    (to / "SHA256SUMS").write_text("".join(lines))
    return files


def _files(root: Path, *below: str) -> list[str]:
    """Return the files of the checkout that git does not ignore."""
    listed = _git(root, "ls-files", "-co", "--exclude-standard", "--", *below).splitlines()
    return sorted(name for name in listed if (root / name).is_file())


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.rstrip()


def _uv(*arguments: str, **environment: str) -> None:
    program = Path(sys.executable).parent / "uv"
    done = subprocess.run([program, *arguments], env=os.environ | environment, check=False)
    if done.returncode:
        sys.exit(f"uv {arguments[0]} failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--untagged", action="store_true", help="a commit without the version's tag will do")
    parser.add_argument("--dirty", action="store_true", help="changes that no commit has are built too")
    parser.add_argument("--images", nargs="*", choices=image.KINDS, default=[], help="images to build")
    parser.add_argument("--base", default="official", help="base of the images: debian, official, or a name")
    parser.add_argument("--to", type=Path, default=Path("dist/release"))
    args = parser.parse_args()
    root, to = Path.cwd(), args.to
    check(root, untagged=args.untagged, dirty=args.dirty)
    epoch = int(_git(root, "log", "-1", "--format=%ct"))
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    print("building the packages, the manifests and the bills of materials", flush=True)
    packages(root, to, epoch)
    manifests(root, to, epoch)
    bills(root, to, epoch)
    print("trying the wheel in an environment of its own", flush=True)
    try_wheel(next(to.glob("*.whl")), version.of(root))
    reason = images(to, args.images, args.base)
    for path in sums(to):
        print(f"{path}: {path.stat().st_size / MB:.1f} MB")
    print(f"{to / 'SHA256SUMS'}: their hashes")
    if reason:
        print(f"images were left out: {reason}")


if __name__ == "__main__":
    main()

